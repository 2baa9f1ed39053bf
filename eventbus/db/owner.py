"""The role that owns the tables, beside the one that the application works as.

With one role for everything the application could drop its archive. So it works as a role that reads and writes rows,
and what makes and drops tables works as their owner: `migrate`, the upkeep, `prune_archive`, `import_archive`,
`reconcile` and `rebuild_projection`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from eventbus.conf import bus_settings
from eventbus.db.entries import completed, connect_by
from eventbus.db.sql import fetch, quoted

_ARCHIVE = """
SELECT nspname, relname FROM pg_partition_tree('event') JOIN pg_class ON pg_class.oid = relid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
"""


def become_owner() -> None:
    """Let this process work as the tables' owner from now on, if that is a role of its own."""
    if bus_settings.OWNER_DATABASE is not None:
        connect_by(completed(bus_settings.OWNER_DATABASE))


@contextmanager
def as_owner() -> Iterator[None]:
    """The same for a while."""
    before = dict(connection.settings_dict)
    become_owner()
    try:
        yield
    finally:
        if connection.settings_dict != before:
            connect_by(before)


@transaction.atomic
def give_rights(application: str) -> None:
    """Let the application's role read and write the tables that are there now. For the owner to call: what it has
    itself it keeps, where it is the application's role as well."""
    if application == connection.settings_dict["USER"]:
        return
    role = quoted(application)
    fetch(f"GRANT USAGE ON SCHEMA public TO {role}")
    fetch(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    # The archive is only added to. Its partitions, new ones too, are reached through it and need no grant.
    for part in fetch(_ARCHIVE):
        fetch(f"REVOKE ALL ON {quoted(*part)} FROM {role}")
    fetch(f"GRANT SELECT, INSERT ON event TO {role}")
