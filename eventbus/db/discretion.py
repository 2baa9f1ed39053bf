"""What the database's errors say: which rule an event broke, not the values that broke it.

PostgreSQL explains a refusal by the row that it refuses, and by where in which JSON it came upon it. Such a text goes
into logs, dead letters and Flower, and the row may be a customer's.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import DatabaseError
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: Classes of SQLSTATE that are about values: data, integrity, a limit such as an index's. Others explain themselves by
#: tables and locks.
ABOUT_VALUES = ("22", "23", "54")
_QUOTED = re.compile(r'"[^"]*"')


def keep() -> None:
    """From now on, all errors of all connections say no values."""
    connection_created.connect(_install, dispatch_uid=__name__)


def _install(sender: object, connection: "BaseDatabaseWrapper", **_: Any) -> None:
    if _without_values not in connection.execute_wrappers:
        connection.execute_wrappers.append(_without_values)


def _without_values(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    try:
        return execute(sql, params, many, context)
    except DatabaseError as error:
        cause = error.__cause__
        if isinstance(cause, psycopg.Error) and (cause.sqlstate or "").startswith(ABOUT_VALUES):
            error.args = cause.args = (_rule(cause),)
        raise


def _rule(refusal: psycopg.Error) -> str:
    code, message = refusal.sqlstate or "", refusal.diag.message_primary or ""
    # Of class 23 the names of tables and constraints stand in quotes, of class 22 what could not be read.
    said = _QUOTED.sub('"…"', message) if code.startswith("22") else message
    return f"{said} (SQLSTATE {code})"
