"""DATABASE_URL: an address as PostgreSQL's own library reads it, with every parameter that it knows.

https://www.postgresql.org/docs/current/libpq-connect.html
"""

import os
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

#: Files that libpq would miss at the first connection, or not at all. A key may be kept elsewhere: `engine:…`.
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
#: What Django has a name of its own for.
PARTS = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}


def read_database_url(variable: str, url: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The address as an entry of DATABASES. What it says comes before the defaults, which are an entry too.

    Raises ImproperlyConfigured, which names the variable and the parameter, and never the password.
    """
    said = _read(variable, url)
    parts = {django: said.pop(libpq, "") for libpq, django in PARTS.items()}
    if not parts["NAME"] and "service" not in said:
        raise ImproperlyConfigured(f"{variable} names no database: postgres://user:password@host:port/database")
    _find_files(variable, said)
    options = dict(defaults["OPTIONS"])
    if "options" in said:
        # Of two values for one of the server's settings the last holds.
        said["options"] = f"{options.get('options', '')} {said['options']}".strip()
    return {**defaults, **parts, "OPTIONS": options | said}


def without_session(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The same defaults for a way through a transaction pooler, which keeps nothing of a session for us."""
    options = {name: value for name, value in defaults["OPTIONS"].items() if name != "options"}
    return {**defaults, "DISABLE_SERVER_SIDE_CURSORS": True, "OPTIONS": options | {"prepare_threshold": None}}


def _find_files(variable: str, said: Mapping[str, str]) -> None:
    for name in FILES:
        value = said.get(name, "system")
        if value != "system" and ":" not in value and not os.access(value, os.R_OK):
            raise ImproperlyConfigured(f"{variable}: {name} names {value}, which is not there or can't be read.")


def _read(variable: str, url: str) -> dict[str, Any]:
    try:
        if url.startswith(("postgres://", "postgresql://")):
            return dict(conninfo_to_dict(url))
    except ProgrammingError as error:
        # Any other message of the library may quote a piece of the password.
        if "query parameter" in str(error):
            raise ImproperlyConfigured(
                f"{variable}: {str(error).strip()}. Known are the parameters of libpq, such as sslmode and sslrootcert."
            ) from None
    raise ImproperlyConfigured(
        f"{variable} is not a valid address: write postgres://user:password@host:port/database, every special "
        "character in user and password percent-encoded."
    ) from None
