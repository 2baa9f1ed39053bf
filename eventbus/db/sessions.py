"""The names of database sessions: each process gives its own, and pg_stat_activity shows it."""

from django.db import connection

from eventbus.db.sql import fetch

#: What relays are called. They are counted by it: `bus_status` and the alarm `relay_missing`.
RELAY = "relay"


def name_sessions(name: str, **settings: str) -> None:
    """Name the database sessions of this process, its threads and its children.

    `settings` are PostgreSQL's, and come before those of all processes: `idle_in_transaction_session_timeout="20s"`.
    """
    options = connection.settings_dict.setdefault("OPTIONS", {})
    options["application_name"] = name
    if settings:
        # Of two values for one setting the last holds.
        own = [f"-c {setting}={value}" for setting, value in settings.items()]
        options["options"] = " ".join([options.get("options", ""), *own]).strip()
    # One that is open already would keep its name.
    connection.close()


def count_sessions(name: str) -> int:
    """How many sessions of this name are connected to our database."""
    ((number,),) = fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()", [name]
    )
    return int(number)
