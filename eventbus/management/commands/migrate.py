import random
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import DeadlockDetected

from eventbus.db.ddl import is_busy
from eventbus.db.owner import as_owner, give_rights

#: Whoever waits for a table stops everyone who comes after: for this long at most. Less than PostgreSQL's
#: `deadlock_timeout`: of a migration and an order that wait for each other it is the migration that gives way.
LOCK_TIMEOUT = "500ms"
#: Seconds.
PATIENCE = 300.0
#: Seconds between two tries, in which the others get on: from, to.
PAUSE = (0.5, 2.0)

OLDEST = """
SELECT format('%s (pid %s, for %s s)', application_name, pid, extract(epoch FROM clock_timestamp() - xact_start)::int)
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 3
"""


class Command(migrate.Command):
    help = (
        f"{migrate.Command.help} Runs beside traffic: a migration that does not get a table within {LOCK_TIMEOUT} is "
        f"taken back, lets the others go first, and is tried again, for {PATIENCE / 60:g} minutes. With "
        "OWNER_DATABASE_URL it works as that role, and gives the application's its rights."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        application = connections[options["database"]].settings_dict["USER"]
        with as_owner():
            self._migrate_patiently(*args, **options)
            give_rights(application)

    def _migrate_patiently(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        set_lock_timeout(connection, LOCK_TIMEOUT)
        try:
            with connection.execute_wrapper(without_limit_where_nobody_waits):
                self._migrate(connection, *args, **options)
        finally:
            if connection.is_usable():
                set_lock_timeout(connection, None)

    def _migrate(self, connection: BaseDatabaseWrapper, *args: Any, **options: Any) -> None:
        """Django's own, again and again: what it has done it does not do twice."""
        deadline = monotonic() + PATIENCE
        while True:
            try:
                super().handle(*args, **options)
                return
            except OperationalError as error:
                if not is_busy(error) and not isinstance(error.__cause__, DeadlockDetected):
                    raise
                others = f"The oldest transactions beside it: {oldest_transactions(connection)}."
                if monotonic() > deadline:
                    raise CommandError(
                        f"Given up after {PATIENCE:g} s: somebody is using a table that this migration needs, and it "
                        f"has been taken back. {others} End them, or run it again when they are done."
                    ) from error
            self.stderr.write(f"\nsomebody is using a table that it needs: taken back, and tried again. {others}")
            sleep(random.uniform(*PAUSE))


def set_lock_timeout(connection: BaseDatabaseWrapper, value: str | None) -> None:
    """For this session; None: what it had at its start."""
    with connection.cursor() as cursor:
        cursor.execute("RESET lock_timeout" if value is None else f"SET lock_timeout = '{value}'")


def without_limit_where_nobody_waits(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
) -> Any:
    """Whoever makes an index CONCURRENTLY stops nobody, and waits for the transactions that began before: broken off,
    an invalid index would be left."""
    connection = context["connection"]
    if connection.in_atomic_block or "CONCURRENTLY" not in str(sql).upper():
        return execute(sql, params, many, context)
    set_lock_timeout(connection, "0")
    try:
        return execute(sql, params, many, context)
    finally:
        set_lock_timeout(connection, LOCK_TIMEOUT)


def oldest_transactions(connection: BaseDatabaseWrapper) -> str:
    """Of whom: the likeliest to hold what we wait for."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST)
        return ", ".join(holder for (holder,) in cursor.fetchall()) or "none any more"
