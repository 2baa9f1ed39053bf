"""The names of database sessions: each process gives its own, and pg_stat_activity shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from django.db import connection

from eventbus.db.deadline import Deadline
from eventbus.db.pooler import goes_through_pooler
from eventbus.db.sql import fetch


def name_sessions(name: str, *, answer_within: float | None = None, **settings: str) -> None:
    """Name the database sessions of this process, its threads and its children.

    `answer_within`: seconds that any answer may take, where all statements are short; see `eventbus.db.postgresql`.
    `settings` are PostgreSQL's, and come before those of all processes: `idle_in_transaction_session_timeout="20s"`.
    Through a transaction pooler there are none.
    """
    connection.settings_dict["ANSWER_WITHIN"] = answer_within
    options = connection.settings_dict.setdefault("OPTIONS", {})
    options["application_name"] = name
    if settings and not goes_through_pooler():
        # Of two values for one setting the last holds.
        own = [f"-c {setting}={value}" for setting, value in settings.items()]
        options["options"] = " ".join([options.get("options", ""), *own]).strip()
    # One that is open already would keep its name.
    connection.close()


def hurry_sessions(name: str, *, seconds: int) -> None:
    """Name the sessions of this thread, and let none of its statements, nor the way to the database, take longer: the
    thread watches, and what it watches may hang. Raises OperationalError later, in whatever takes too long."""
    mine = deepcopy(connection.settings_dict)
    options = mine.setdefault("OPTIONS", {})
    limits = (
        ""
        if goes_through_pooler()
        else f"-c statement_timeout={seconds}s -c lock_timeout={seconds}s "
        "-c idle_in_transaction_session_timeout=30s -c idle_session_timeout=0"
    )
    mine["ANSWER_WITHIN"] = seconds
    options |= {
        "application_name": name,
        "connect_timeout": 5,
        # Milliseconds until a connection whose bytes nobody acknowledges is lost.
        "tcp_user_timeout": seconds * 1000,
        "options": f"{options.get('options', '')} {limits}".strip(),
    }
    connection.close()
    connection.settings_dict = mine


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What this thread asks of the database inside is cut off after this time: a frozen server heeds no time-out of its
    own. Raises TimeoutError then, and the connection is lost."""
    connection.ensure_connection()
    with Deadline(seconds) as deadline:
        deadline.watch(connection.connection.fileno())
        yield


def count_sessions(name: str) -> int:
    """How many sessions of this name are connected to our database."""
    ((number,),) = fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()", [name]
    )
    return int(number)
