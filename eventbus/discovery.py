"""Imports what declares contracts, consumers, invariants, alarms and metrics: in each app, the modules of these names.

The files of the folder `consumers/` are there already: that app imports them with its models.
"""

from django.utils.module_loading import autodiscover_modules


def autodiscover() -> None:
    """Fill the registries. Called once, when Django's apps are ready."""
    for name in ("events", "consumers", "invariants", "alarms", "metrics"):
        autodiscover_modules(name)
