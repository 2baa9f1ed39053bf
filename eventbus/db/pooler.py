"""A connection pooler between us and PostgreSQL.

In transaction mode, which is what PgBouncer is mostly used for, each transaction gets whatever session is free. What a
session would keep is lost, or found by somebody else: its settings, LISTEN, advisory locks, prepared statements,
temporary tables. Web and most workers can do without and go through the pooler, where there is one; nothing else can.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created

from eventbus.conf import bus_settings
from eventbus.db.entries import completed, connect_by
from eventbus.errors import EventbusError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: PgBouncer, of what it can't give to each transaction anew.
NOT_FOR_POOLERS = "unsupported startup parameter"
ROUNDS = 3

_goes_through_pooler = False
# Once a look has shown it, nothing but another address would change it.
_has_sessions = False


class TransactionPooler(EventbusError, ImproperlyConfigured):
    """A process that needs sessions of its own reaches PostgreSQL through a transaction pooler."""

    def __init__(self) -> None:
        owner = bus_settings.OWNER_DATABASE
        if owner is not None and connection.settings_dict["USER"] == owner["USER"]:
            advice = "OWNER_DATABASE_URL leads through a transaction pooler: set it"
        elif bus_settings.POOLED_DATABASE is None:
            advice = "DATABASE_URL leads through a transaction pooler: set DATABASE_DIRECT_URL beside it"
        else:
            advice = "DATABASE_DIRECT_URL leads through a transaction pooler: set it"
        super().__init__(f"{advice} to PostgreSQL's own address. See docs/deploy.md.")


def go_through_pooler() -> None:
    """Let this process reach PostgreSQL through the pooler from now on, if there is one."""
    global _goes_through_pooler
    if bus_settings.POOLED_DATABASE is not None:
        connect_by(completed(bus_settings.POOLED_DATABASE))
        _goes_through_pooler = True
    else:
        refuse_pooler()


def goes_through_pooler() -> bool:
    """Whether this process does, and so has no settings of its session, and no locks of it."""
    return _goes_through_pooler


def refuse_pooler() -> None:
    """Raise TransactionPooler if that is what the address leads to. While the database is away nobody can tell."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        if NOT_FOR_POOLERS in str(error):
            raise TransactionPooler from None
    finally:
        connection.close()


def watch() -> None:
    """From now on look at each new connection: one through a transaction pooler raises TransactionPooler."""
    connection_created.connect(_look, dispatch_uid=__name__)


def _look(sender: object, connection: "BaseDatabaseWrapper", **_: Any) -> None:
    global _has_sessions
    if _goes_through_pooler or _has_sessions:
        return
    session = connection.connection
    # A pooler makes up the number that it tells its clients.
    if _backend(session) != session.info.backend_pid and _shares_sessions(connection):
        connection.close()
        raise TransactionPooler
    _has_sessions = True


def _shares_sessions(connection: "BaseDatabaseWrapper") -> bool:
    """Whether two connections meet in one session, or one has two: not so with a pooler in session mode."""
    mine = connection.connection
    with closing(connection.get_new_connection(connection.get_connection_params())) as other:
        for _ in range(ROUNDS):
            before = _backend(mine)
            # While this transaction lasts nobody else has its session.
            with other.transaction():
                if _backend(other) == before or _backend(mine) != before:
                    return True
    return False


def _backend(session: Any) -> int:
    """The server's process behind a connection."""
    ((pid,),) = session.execute("SELECT pg_backend_pid()").fetchall()
    return int(pid)
