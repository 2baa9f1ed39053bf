"""Every migration can run while the code before it is at work: docs/decisions/0025-upgrades-beside-traffic.md."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connection, models
from django.db.migrations import (
    AddConstraint,
    AddField,
    AddIndex,
    AlterField,
    AlterModelTable,
    CreateModel,
    DeleteModel,
    Migration,
    RemoveField,
    RenameField,
    RunPython,
    RunSQL,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

pytestmark = pytest.mark.django_db

ROOT = Path(settings.BASE_DIR)
SQUAWK = Path(sys.executable).with_name("squawk")
OURS = {path.parent.name for path in ROOT.glob("*/apps.py")}


def wrong_with(migration: Migration, loader: MigrationLoader) -> dict[str, str]:
    """By rule what a migration must not do, leaving out what it says itself that it may: `accepts`, by rule with the
    reason. One that begins an app's tables meets no traffic."""
    if migration.initial:
        return {}
    found = wrong_with_sql(migration, loader)
    if not all(operation.reversible for operation in migration.operations):
        found["not-reversible"] = "An operation without its reverse: a release that fails can't be taken back."
    if not migration.atomic and len(migration.operations) > 1:
        found["half-done"] = "Without a transaction, what fails in the middle can't be run again: one operation each."
    accepted: dict[str, str] = getattr(migration, "accepts", {})
    return {rule: why for rule, why in found.items() if rule not in accepted}


def wrong_with_sql(migration: Migration, loader: MigrationLoader) -> dict[str, str]:
    """The same of its statements, ours in `RunSQL` included, as squawk reads them; what Python does nobody sees."""
    lines = loader.collect_sql([(migration, False)])
    if migration.atomic:
        lines = ["BEGIN;", *lines, "COMMIT;"]
    done = subprocess.run(
        [SQUAWK, "--reporter", "json"], cwd=ROOT, input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return {each["rule_name"]: f"line {each['line'] + 1}: {each['message']}" for each in json.loads(done.stdout)}


@pytest.fixture
def loader() -> Iterator[MigrationLoader]:
    # The test's own connection is in a transaction, in which Django refuses what belongs into none.
    other = connection.copy()
    yield MigrationLoader(other, replace_migrations=False)
    other.close()


def test_every_migration_can_run_beside_the_code_before_it(loader: MigrationLoader) -> None:
    wrong = {
        f"{app}.{name}": found
        for (app, name), migration in loader.disk_migrations.items()
        if app in OURS and (found := wrong_with(migration, loader))
    }
    assert wrong == {}


def test_only_the_first_migration_of_an_app_is_taken_for_its_beginning(loader: MigrationLoader) -> None:
    """Nobody looks at those, so no other may call itself that."""
    initial = [key for key, migration in loader.disk_migrations.items() if key[0] in OURS and migration.initial]
    assert {name for _, name in initial} == {"0001_initial"}


def next_one(operations: Sequence[Operation], loader: MigrationLoader, *, atomic: bool = True) -> Migration:
    """A migration of `orders` with these operations, as if it came after those that there are."""
    (leaf,) = loader.graph.leaf_nodes("orders")
    migration = Migration("9999_next", "orders")
    vars(migration).update(operations=list(operations), dependencies=[leaf], atomic=atomic, initial=False)
    key = ("orders", "9999_next")
    loader.disk_migrations[key] = migration
    loader.graph.add_node(key, migration)
    loader.graph.add_dependency(migration, key, leaf)
    return migration


CHANGE_TYPE = "ALTER TABLE orders_order ALTER COLUMN currency TYPE text USING currency::text"


@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        (AddIndex("order", models.Index(fields=["currency"], name="slow")), "require-concurrent-index-creation"),
        (RunSQL("CREATE INDEX slow ON event (version)", "DROP INDEX slow"), "require-concurrent-index-creation"),
        (RunSQL("DROP INDEX slow", "SELECT 1"), "require-concurrent-index-deletion"),
        # Code of before inserts rows without it: Django gives the column no default that lasts.
        (AddField("order", "note", models.TextField(default="")), "ban-drop-default"),
        (RunSQL("ALTER TABLE outbox ADD COLUMN note text NOT NULL", "SELECT 1"), "adding-required-field"),
        (RunSQL("ALTER TABLE outbox ADD COLUMN at timestamptz DEFAULT clock_timestamp()", "SELECT 1"),
         "adding-field-with-default"),
        (AlterField("order", "currency", models.TextField(null=True)), "changing-column-type"),
        (RunSQL(CHANGE_TYPE, CHANGE_TYPE), "changing-column-type"),
        (RunSQL("ALTER TABLE event ALTER COLUMN user_id SET NOT NULL", "SELECT 1"), "adding-not-nullable-field"),
        (RenameField("order", "currency", "money"), "renaming-column"),
        (AlterModelTable("order", "purchase"), "renaming-table"),
        (RemoveField("order", "currency"), "ban-drop-column"),
        (DeleteModel("orderitem"), "ban-drop-table"),
        (AddConstraint("order", models.UniqueConstraint(fields=["currency"], name="one")),
         "disallowed-unique-constraint"),
        (AddConstraint("order", models.CheckConstraint(condition=~models.Q(currency=""), name="some")),
         "constraint-missing-not-valid"),
        (RunSQL("UPDATE orders_order SET currency = 'EUR'"), "not-reversible"),
        (RunPython(RunPython.noop), "not-reversible"),
    ],
)  # fmt: skip
def test_what_would_stop_or_break_running_code_is_refused(
    operation: Operation, rule: str, loader: MigrationLoader
) -> None:
    assert rule in wrong_with(next_one([operation], loader), loader)


def test_an_index_without_a_transaction_has_a_migration_of_its_own(loader: MigrationLoader) -> None:
    concurrently = [
        AddIndexConcurrently("order", models.Index(fields=[field], name=field)) for field in ("currency", "customer_id")
    ]
    assert "half-done" in wrong_with(next_one(concurrently, loader, atomic=False), loader)


@pytest.mark.parametrize(
    ("operation", "atomic"),
    [
        (AddField("order", "note", models.TextField(null=True)), True),
        (AddField("order", "note", models.TextField(default="", db_default="")), True),
        (CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("on", models.DateField(db_index=True))]),
         True),
        (AddIndexConcurrently("order", models.Index(fields=["currency"], name="quick")), False),
        (RunSQL("ALTER TABLE outbox ADD CONSTRAINT some CHECK (position > 0) NOT VALID", "SELECT 1"), True),
    ],
)  # fmt: skip
def test_what_running_code_does_not_notice_is_let_through(
    operation: Operation, atomic: bool, loader: MigrationLoader
) -> None:
    assert wrong_with(next_one([operation], loader, atomic=atomic), loader) == {}


def test_a_migration_may_say_why_it_must(loader: MigrationLoader) -> None:
    migration = next_one([RemoveField("order", "currency")], loader)
    migration.accepts = {"ban-drop-column": "No code has read it since 0.3.0."}  # type: ignore[attr-defined]
    assert wrong_with(migration, loader) == {}
