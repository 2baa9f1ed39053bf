"""The names of database sessions: each process gives its own, and pg_stat_activity shows it."""

from django.db import connection

from eventbus.db.sql import fetch

#: What relays are called. They are counted by it: `bus_status` and the alarm `relay_missing`.
RELAY = "relay"


def name_sessions(name: str) -> None:
    """Name the database sessions of this process, its threads and its children."""
    connection.settings_dict.setdefault("OPTIONS", {})["application_name"] = name
    # One that is open already would keep its name.
    connection.close()


def count_sessions(name: str) -> int:
    """How many sessions of this name are connected to our database."""
    ((number,),) = fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()", [name]
    )
    return int(number)
