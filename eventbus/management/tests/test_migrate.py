"""`manage.py migrate` on a database that is at work."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

from eventbus.management.commands import migrate
from eventbus.testing import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ADD_COLUMN = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("sessions", "0001_initial")]
    operations = [migrations.RunSQL("ALTER TABLE shelf ADD COLUMN width int", "ALTER TABLE shelf DROP COLUMN width")]
"""
ADD_INDEX = """
from django.db import migrations

class Migration(migrations.Migration):
    atomic = False
    dependencies = [("sessions", "0001_initial")]
    operations = [migrations.RunSQL("CREATE INDEX CONCURRENTLY shelf_name ON shelf (name)", "DROP INDEX shelf_name")]
"""
# One that waits for a lock, for longer than a migration does where others wait behind it.
WAITS = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
               AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND query_start < clock_timestamp() - interval '700 ms')
"""

Release = Callable[[str], object]


@pytest.fixture
def release(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    """Call it with the text of a migration: that is what comes with the next release, for a table `shelf`."""
    package = tmp_path / "next_release"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "0001_initial.py").write_text("from django.db.migrations import Migration")
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {"sessions": "next_release"}
    monkeypatch.setattr(migrate, "PAUSE", (0, 0))
    run("CREATE TABLE shelf (name text)")
    yield (package / "0002_next.py").write_text
    run("DROP TABLE shelf")
    run("DELETE FROM django_migrations WHERE name = '0002_next'")
    for name in [name for name in sys.modules if name.startswith("next_release")]:
        del sys.modules[name]


@pytest.fixture
def somebody() -> Iterator[BaseDatabaseWrapper]:
    """Another session, in the middle of a transaction that has written."""
    other = connection.copy()
    other.settings_dict = {
        **other.settings_dict,
        "OPTIONS": other.settings_dict["OPTIONS"] | {"application_name": "report"},
    }
    other.set_autocommit(False)
    write(other)
    yield other
    other.close()


def run(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def write(session: BaseDatabaseWrapper) -> None:
    with session.cursor() as cursor:
        cursor.execute("INSERT INTO shelf VALUES ('oak')")


def columns() -> list[str]:
    return [name for (name,) in run("SELECT column_name FROM information_schema.columns WHERE table_name = 'shelf'")]


class Listener(StringIO):
    """Does something when it is told of a failed try."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self.then = then

    def write(self, text: str) -> int:
        if "tried again" in text:
            self.then()
        return super().write(text)


def test_it_lets_others_go_first_and_comes_back(release: Release, somebody: BaseDatabaseWrapper) -> None:
    release(ADD_COLUMN)

    def others_get_on() -> None:
        third = connection.copy()
        with third.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        write(third)
        third.close()
        somebody.commit()

    told = Listener(others_get_on)
    call_command("migrate", "sessions", verbosity=0, stderr=told)
    assert "width" in columns()
    assert told.getvalue().count("somebody is using a table that it needs") == 1
    assert "report (pid " in told.getvalue()


def test_it_gives_up_and_says_whom_it_waited_for(
    release: Release, somebody: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(ADD_COLUMN)
    monkeypatch.setattr(migrate, "PATIENCE", 0)
    with pytest.raises(CommandError, match=r"Given up after 0 s.*report \(pid .*run it again"):
        call_command("migrate", "sessions", verbosity=0)
    assert columns() == ["name"]
    assert run("SHOW lock_timeout") == [("20s",)]


def test_an_index_that_stops_nobody_waits_as_long_as_it_takes(
    release: Release, somebody: BaseDatabaseWrapper, django_db_blocker: DjangoDbBlocker
) -> None:
    release(ADD_INDEX)

    def make_index() -> None:
        with django_db_blocker.unblock():
            call_command("migrate", "sessions", verbosity=0)
            connection.close()

    with ThreadPoolExecutor() as pool:
        making = pool.submit(make_index)
        wait_until(lambda: run(WAITS) == [(True,)], 30, "the index to wait for the transaction")
        somebody.commit()
        making.result(30)
    assert run("SELECT indisvalid FROM pg_index WHERE indexrelid = 'shelf_name'::regclass") == [(True,)]
