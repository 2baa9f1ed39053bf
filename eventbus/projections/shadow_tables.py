"""A second set of a projection's tables, in a schema of its own, with notes of what they contain.

The same handler fills it: inside `in_sight` its unqualified table names mean the shadow tables.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from eventbus.conf import bus_settings
from eventbus.db.sql import fetch, quoted
from eventbus.declaration import Consumer
from eventbus.errors import EventbusError
from eventbus.projections.tables import columns, create_like, execute, oid, stays_behind

#: What PostgreSQL cuts a name at, less what `exchange` appends.
LONGEST_NAME = 58

# `done`: whether the consumer's inbox had the event as done when these tables took it in. `left_out`: events that the
# last pass over the archive found not due. `sure_until`: whatever was committed with an older id, that pass has seen.
_NOTES = """
CREATE TABLE {schema}.rebuild_applied (event_id uuid PRIMARY KEY, done boolean NOT NULL);
CREATE TABLE {schema}.rebuild_left_out (event_id uuid PRIMARY KEY);
CREATE TABLE {schema}.rebuild_position (
    aggregate_type text COLLATE "C", aggregate_id text COLLATE "C", sequence integer NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);
CREATE TABLE {schema}.rebuild_state (
    consumer text NOT NULL, code text NOT NULL, applied bigint NOT NULL DEFAULT 0,
    after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000', sure_until timestamptz
);
"""


class RebuildRefused(EventbusError):
    """The request makes no sense as things are; the message says what to do."""


@dataclass(frozen=True)
class ShadowTables:
    """A set of the consumer's tables in the schema `schema`; the live set is in `live`."""

    consumer: Consumer
    schema: str
    live: str

    @property
    def exists(self) -> bool:
        ((found,),) = fetch("SELECT to_regnamespace(%s) IS NOT NULL", [quoted(self.schema)])
        return bool(found)

    def create(self) -> None:
        """Make it, empty. Raises RebuildRefused where the live tables have what a shadow could not take over."""
        lost = stays_behind(self.live, self.consumer.tables)
        if lost:
            raise RebuildRefused(
                f"A rebuilt table would lose {'; '.join(lost)}. Remove it from the projection's tables first."
            )
        with transaction.atomic():
            execute(f"CREATE SCHEMA {quoted(self.schema)}")
            for table in self.consumer.tables:
                create_like(self.live, table, self.schema)
            execute(_NOTES.format(schema=quoted(self.schema)))
            fetch(
                f"INSERT INTO {self.notes('state')} (consumer, code) VALUES (%s, %s)", [self.consumer.name, self.code]
            )

    def drop(self) -> None:
        execute(f"DROP SCHEMA IF EXISTS {quoted(self.schema)} CASCADE")

    def notes(self, name: str) -> str:
        """The qualified name of one of the tables of notes."""
        return quoted(self.schema, f"rebuild_{name}")

    @contextmanager
    def in_sight(self) -> Iterator[None]:
        """Inside, unqualified table names mean the shadow tables. Call it inside a transaction."""
        ((before,),) = fetch("SELECT current_setting('search_path')")
        fetch("SELECT set_config('search_path', %s, true)", [f"{quoted(self.schema)}, {before}"])
        yield
        # After an error the transaction is rolled back, and this with it.
        fetch("SELECT set_config('search_path', %s, true)", [before])

    def is_current(self) -> bool:
        """Whether it was begun by today's code, for tables as they are today."""
        ((code,),) = fetch(f"SELECT code FROM {self.notes('state')}")
        return bool(code == self.code) and self.fits()

    def fits(self) -> bool:
        """Whether its tables have the live ones' columns."""
        return all(
            columns(self.schema, table) == columns(self.live, table) and oid(self.schema, table)
            for table in self.consumer.tables
        )

    @property
    def code(self) -> str:
        """A fingerprint of the code that fills it: the consumer's app (or its one file) and the contracts it reads."""
        app = self.consumer.handler.__module__.split(".")[0]
        handler = _file_of(self.consumer.handler.__module__)
        own = {handler} if app == bus_settings.SMALL_CONSUMERS else set(_file_of(app).parent.rglob("*.py"))
        contracts = {_file_of(contract.__module__) for contract in self.consumer.on}
        digest = hashlib.sha256()
        for path in sorted(own | contracts):
            if path.parent.name != "tests":
                digest.update(path.read_bytes())
        return digest.hexdigest()


def _file_of(module: str) -> Path:
    return Path(str(sys.modules[module].__file__))


def rebuilt_tables(consumer: Consumer) -> ShadowTables:
    """Where a rebuild goes on."""
    return _shadow(consumer, "rebuild")


def old_tables(consumer: Consumer) -> ShadowTables:
    """What the last rebuild replaced."""
    return _shadow(consumer, "old")


def _shadow(consumer: Consumer, kind: str) -> ShadowTables:
    if not consumer.tables:
        raise RebuildRefused(
            f"{consumer.name} is not a projection: declare consumer(…, tables=[Model…]) with the tables that hold "
            "nothing but what its handler makes of its events."
        )
    schema = f"{kind}_{consumer.name.replace('.', '_')}"
    if len(schema) > LONGEST_NAME:
        raise RebuildRefused(f"{schema} is too long for the name of a schema: at most {LONGEST_NAME} characters.")
    ((live,),) = fetch("SELECT current_schema()")
    if missing := [table for table in consumer.tables if oid(live, table) is None]:
        raise RebuildRefused(f"There is no table {', '.join(missing)} in the schema {live}: run manage.py migrate.")
    found = ShadowTables(consumer, schema, live)
    if found.exists and fetch(f"SELECT consumer FROM {found.notes('state')}") != [(consumer.name,)]:
        raise RebuildRefused(f"The schema {schema} belongs to another consumer of a like name: drop that one first.")
    return found
