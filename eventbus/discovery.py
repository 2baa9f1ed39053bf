"""Imports what declares contracts, consumers and invariants: the `events`, `consumers`, `queries` and `invariants` of
each app, and every file in `consumers/`."""

import pkgutil
from importlib import import_module

from django.utils.module_loading import autodiscover_modules

import consumers


def autodiscover() -> None:
    """Fill the registries. Called once, when Django's apps are ready."""
    autodiscover_modules("events")
    autodiscover_modules("consumers")
    autodiscover_modules("queries")
    autodiscover_modules("invariants")
    for module in pkgutil.iter_modules(consumers.__path__):
        import_module(f"consumers.{module.name}")
