"""The two database roles of docs/deploy.md, on a server where we may make them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from eventbus.management.commands.migrate import OLDEST
from tests.support.small_postgres import SmallPostgres

ROOT = Path(settings.BASE_DIR)
# What every process does with the bus, in the application's own code: intake, relay, inbox, locks.
WORK = """
from django.db import connection, transaction
from eventbus import lock_streams
from eventbus.monitoring import invariants
from eventbus.monitoring.alarms import observe
from eventbus.monitoring.rules import RULES
from eventbus.relay import claims
from eventbus.testing import ArchivedEvent, deliver, from_archive
from inventory.consumers import reserve_stock
from inventory.services import receive_stock
from orders.events import OrderCancelled
from orders.tests.builders import placed_order

with transaction.atomic():
    receive_stock(product_id="vase", product_name="Vase", quantity=5)
order = placed_order()
created = ArchivedEvent.objects.get(type="order.created")
assert deliver(from_archive(created), to=reserve_stock) == 1
assert deliver(from_archive(created), to=reserve_stock) == 0
with transaction.atomic():
    lock_streams([order.pk], having=OrderCancelled)
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute(claims.CLAIM, [10])
    assert cursor.fetchall()
for each in invariants.INVARIANTS:
    each.check()
seen = observe()
for rule in RULES.values():
    rule.measure(seen)
"""
CHANGES = ("UPDATE {} SET type = 'x'", "DELETE FROM {}", "TRUNCATE {}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPostgres]:
    """Here the application role has done its work, with no more rights than the page gives it."""
    home = tmp_path_factory.mktemp("roles")
    # The server runs as another user, who must get there, through the folders that pytest made.
    for folder in (home, *home.parents):
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o755)
    postgres = SmallPostgres(home)
    postgres.create()
    try:
        # As docs/deploy.md says; and safe to repeat.
        for _ in range(2):
            run(postgres, "-m", "deploy.postgres.set_up", ADMIN_DATABASE_URL=postgres.owner_url)
            run(postgres, "manage.py", "migrate", "--verbosity", "0")
        run(postgres, "manage.py", "shell", "-v0", "-c", WORK)
        yield postgres
    finally:
        postgres.stop()


def run(server: SmallPostgres, *arguments: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ
        | {"DATABASE_URL": app_url(server), "OWNER_DATABASE_URL": owner_url(server)}
        | {"DJANGO_SETTINGS_MODULE": "config.settings"}
        | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_role_with_two_addresses_keeps_its_rights(server: SmallPostgres) -> None:
    run(server, "manage.py", "migrate", "--verbosity", "0", DATABASE_URL=owner_url(server))
    with psycopg.connect(owner_url(server), autocommit=True) as owner:
        for part in parts(owner):
            owner.execute(f"SELECT count(*) FROM {part}")


def owner_url(server: SmallPostgres) -> str:
    return server.url.replace("pipeline@", "pipeline:the-owners@")


def app_url(server: SmallPostgres) -> str:
    return server.url.replace("pipeline@", "pipeline_app:the-applications@")


def test_passwords_are_set(server: SmallPostgres) -> None:
    with psycopg.connect(server.owner_url) as superuser:
        kept = superuser.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'pipeline%'").fetchall()
    assert {name: password[:14] for name, password in kept} == {
        "pipeline": "SCRAM-SHA-256$",
        "pipeline_app": "SCRAM-SHA-256$",
    }


def test_the_application_role_can_write_and_not_change_the_archive(server: SmallPostgres) -> None:
    with psycopg.connect(app_url(server), autocommit=True) as app:
        assert app.execute("SELECT count(*) > 0 FROM event").fetchone() == (True,)
        for part in parts(app):
            for change in CHANGES:
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"denied for table {part}"):
                    app.execute(change.format(part))


def test_what_makes_and_drops_tables_works_as_their_owner(server: SmallPostgres) -> None:
    run(server, "manage.py", "rebuild_projection", "analytics.sales_by_day")
    with psycopg.connect(app_url(server)) as app:
        # The table that took the other's place is the application's to write, too.
        app.execute("DELETE FROM analytics_salesbyday")
    run(server, "manage.py", "prune_archive")
    run(server, "manage.py", "rebuild_projection", "analytics.sales_by_day", "--drop-old")


def test_a_migration_says_for_whom_it_waits(server: SmallPostgres) -> None:
    with psycopg.connect(app_url(server)) as app, psycopg.connect(owner_url(server)) as owner:
        app.execute("SELECT 1")
        assert owner.execute(OLDEST).fetchall() != []


def test_triggers_refuse_a_superuser_whom_privileges_do_not_bind(server: SmallPostgres) -> None:
    with psycopg.connect(server.owner_url, autocommit=True) as superuser:
        (filled,) = superuser.execute("SELECT DISTINCT tableoid::regclass::text FROM event").fetchone() or ("",)
        for part in ("event", filled):
            for change in CHANGES:
                with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                    superuser.execute(change.format(part))


def parts(database: psycopg.Connection) -> list[str]:
    rows = database.execute("SELECT relid::regclass::text FROM pg_partition_tree('event')").fetchall()
    return [name for (name,) in rows]
