"""Imports what declares contracts, consumers and invariants: the `events`, `consumers`, `queries` and `invariants` of
each app. The files of the folder `consumers/` are there already: that app imports them with its models."""

from django.utils.module_loading import autodiscover_modules


def autodiscover() -> None:
    """Fill the registries. Called once, when Django's apps are ready."""
    for name in ("events", "consumers", "queries", "invariants"):
        autodiscover_modules(name)
