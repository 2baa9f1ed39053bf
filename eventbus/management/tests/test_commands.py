"""What holds for every command of the bus: a dry run writes nothing, and a pipe that closed is no error."""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.db import connection
from django.utils import timezone

from eventbus.archive.partitions import month_start
from eventbus.ids import first_id_at
from eventbus.subscriptions.models import Subscription
from eventbus.testing.bus import delivered
from eventbus.tests.builders import dead_letter, publish_at, waiting_retry
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker import inbox

PROJECT = Path(__file__).resolve().parents[3]

#: The arguments with which each command that has a dry run would do something.
DRY_RUNS: dict[str, list[str]] = {
    "cancel_retries": ["--all"],
    "check_alarms": [],
    "declare_topology": [],
    "discard_dead_letters": ["--all", "--reason", "a test"],
    "export_schemas": [],
    "import_archive": ["FILE"],
    "prune_archive": [],
    "rebuild_projection": ["parcel.fill_shelves"],
    "reconcile": ["2025-03-01", "--into", "FILE"],
    "replay_dead_letters": ["--all"],
    "replay_events": ["--to", "parcel.track"],
    "verify_pipeline": ["--repair"],
}


def has_dry_run(name: str) -> bool:
    parser = load_command_class("eventbus", name).create_parser("manage.py", name)
    return any("--dry-run" in action.option_strings for action in parser._actions)


def content() -> dict[str, str]:
    """Of each table a digest of all that is in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'")
        names = [name for (name,) in cursor.fetchall() if not name.startswith(("pg_", "sql_"))]
        digests = {}
        for name in names:
            cursor.execute(f"SELECT md5(coalesce(string_agg(t::text, ' ' ORDER BY t::text), '')) FROM \"{name}\" AS t")
            ((digests[name],),) = cursor.fetchall()
    return digests


@pytest.fixture
def work(projected_tables: None, tmp_path: Path) -> Path:
    """Something for each of the commands: an old month, a lost event, a dead letter, a retry; a file from elsewhere."""
    Subscription.objects.create(consumer=track.name, routing_key=ParcelSent.routing_key())
    Subscription.objects.update(since=timezone.now() - timedelta(hours=1))
    publish_at(UUID(int=first_id_at(month_start(timezone.now(), -30)).int | 7 << 76 | 2 << 62))
    dead_letter()
    waiting_retry()
    exported = delivered(ParcelSent(parcel_id="from elsewhere"))
    inbox.process(track, [inbox.Arrival(exported)])
    file = tmp_path / "events.jsonl"
    call_command("export_archive", str(file), "--aggregate", "nothing")
    return file


def test_each_dry_run_is_tried() -> None:
    ours = sorted(name for name, app in get_commands().items() if app == "eventbus")
    assert [name for name in ours if has_dry_run(name)] == sorted(DRY_RUNS)


@pytest.mark.django_db
@pytest.mark.parametrize("name", DRY_RUNS)
def test_a_dry_run_writes_nothing(name: str, work: Path) -> None:
    arguments = [str(work) if each == "FILE" else each for each in DRY_RUNS[name]]
    before = content()
    with suppress(SystemExit):
        call_command(name, *arguments, "--dry-run")
    assert content() == before


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "django", "declare_topology", "--dry-run"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": "eventbus.tests.settings"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
