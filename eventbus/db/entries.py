"""Another way to the same database than DATABASES says: an entry like its own, for some processes."""

from collections.abc import Mapping
from typing import Any

from django.db import connection, connections


def completed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as Django completes those of DATABASES."""
    settings: dict[str, Any] = connections.configure_settings({"default": entry})["default"]
    return settings


def connect_by(settings: Mapping[str, Any]) -> None:
    """Let this process, its threads and its children reach the database by these settings from now on."""
    connection.close()
    connection.settings_dict.update(settings)
