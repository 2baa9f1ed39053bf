"""Statements and their rows."""

from typing import Any

from django.db import connection


def quoted(*names: str) -> str:
    """The names as one qualified identifier."""
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names)


def fetch(statement: str, params: Any = ()) -> list[Any]:
    """Run a statement; returns its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []
