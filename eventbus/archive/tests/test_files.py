"""A year moved to another system, and back again as the same bytes."""

import json
import os
import stat
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from eventbus.archive import export as archive_export
from eventbus.archive import import_
from eventbus.archive.export import Chosen
from eventbus.archive.models import ArchivedEvent, StreamCut
from eventbus.archive.partitions import month_start, months
from eventbus.contracts.codec import decode
from eventbus.ids import first_id_at, new_id
from eventbus.monitoring.bus_invariants import gaps_in_streams
from eventbus.recording.context import handling
from eventbus.recording.models import Stream
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.testing.bus import delivered, empty_bus, on_the_wire, prune_this_month
from eventbus.tests.builders import publish_at
from eventbus.tests.samples import Line, ParcelSent, ParcelTracked, ParcelWeighed

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def ids(monkeypatch: Any) -> list[UUID]:
    """Events of three parcels in an otherwise empty archive, in more batches than one."""
    monkeypatch.setattr(import_, "BATCH", 4)
    monkeypatch.setattr(archive_export, "CHUNK", 3)
    wipe()
    with handling(delivered(ParcelSent(parcel_id="cause")).envelope, "parcel.track"):
        first = publish(ParcelSent(parcel_id="ä", weight=Decimal("0.10"), lines=(Line(sku="a", price=Decimal("7")),)))
    rest = [publish(ParcelSent(parcel_id=f"p-{n % 3}"), ParcelWeighed(parcel_id=f"p-{n % 3}")) for n in range(5)]
    return [*first, *(event_id for pair in rest for event_id in pair)]


def wipe() -> None:
    empty_bus()
    StreamCut.objects.all().delete()


def export(file: Path, *arguments: str) -> bytes:
    call_command("export_archive", str(file), *arguments)
    return file.read_bytes()


def import_archive(file: Path, *arguments: str) -> None:
    call_command("import_archive", str(file), *arguments)


def rewrite(file: Path, body: bytes) -> None:
    """Another file, with a manifest that vouches for it."""
    file.write_bytes(body)
    manifest = {"events": body.count(b"\n"), "sha256": sha256(body).hexdigest(), "first": None, "last": None}
    file.with_name("events.jsonl.manifest.json").write_text(json.dumps(manifest))


def test_an_export_is_what_went_on_the_wire_and_its_manifest_vouches_for_it(ids: list[UUID], file: Path) -> None:
    lines = export(file).splitlines()
    events = [decode(line) for line in lines]
    assert [event.envelope.event_id for event in events] == sorted(ids)
    assert b'"weight": 0.10' in lines[0]
    assert events[0].envelope.metadata.causation_id is not None
    assert json.loads(file.with_name("events.jsonl.manifest.json").read_text()) == {
        "events": 11, "sha256": sha256(file.read_bytes()).hexdigest(), "first": str(ids[0]), "last": str(ids[-1]),
        "from": None, "to": None, "types": [], "aggregates": [],
    }  # fmt: skip
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


def test_exported_imported_and_exported_again_it_is_the_same_file(ids: list[UUID], file: Path, tmp_path: Path) -> None:
    original = export(file)
    wipe()
    assert gaps() == []
    import_archive(file)
    assert export(tmp_path / "again.jsonl") == original
    assert gaps() == []
    assert not Outbox.objects.exists()
    assert Stream.objects.get(aggregate_id="p-0").sequence == 4

    publish(ParcelSent(parcel_id="p-0"))
    assert gaps() == []


def test_an_archive_that_was_pruned_has_no_gaps_elsewhere(ids: list[UUID], file: Path) -> None:
    prune_this_month()
    publish(ParcelSent(parcel_id="p-0"), ParcelTracked(parcel_id="p-0"), ParcelSent(parcel_id="new"))
    export(file)
    wipe()
    clear_pruned()
    import_archive(file)
    assert gaps() == []
    assert StreamCut.objects.get().sequence == 4


def clear_pruned() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pruned_month")


def test_what_was_before_closes_the_cut(ids: list[UUID], file: Path, tmp_path: Path) -> None:
    late, early = sorted(ids)[6:], sorted(ids)[:6]
    body = export(file)
    lines = {json.loads(line)["eventId"]: line + b"\n" for line in body.splitlines()}
    wipe()
    for part in (late, early):
        rewrite(file, b"".join(lines[str(event_id)] for event_id in part))
        import_archive(file)
        assert gaps() == []
    assert not StreamCut.objects.exists()


def gaps() -> list[str]:
    return gaps_in_streams()


def test_an_import_that_died_goes_on_and_skips_what_is_there(ids: list[UUID], file: Path, capsys: Any) -> None:
    original = export(file)
    wipe()

    def die(events: int) -> None:
        raise KeyboardInterrupt

    _, found = import_.verify(file, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        import_.import_from(file, found, die)
    assert ArchivedEvent.objects.count() == 4

    capsys.readouterr()
    import_archive(file, "--json")
    assert json.loads(capsys.readouterr().out) == {"dryRun": False, "stored": 7, "skipped": 4}
    assert export(file) == original


def test_a_dry_run_checks_all_and_stores_nothing(ids: list[UUID], file: Path, capsys: Any) -> None:
    export(file)
    wipe()
    capsys.readouterr()
    import_archive(file, "--dry-run")
    assert "11 events would be stored" in capsys.readouterr().out
    assert not ArchivedEvent.objects.exists()
    assert not Stream.objects.exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda body: body.replace(b"0.10", b"0.11"), "not what its manifest says"),
        (lambda body: body.splitlines(keepends=True)[0], "not what its manifest says"),
        (lambda body: body + b"{}\n", "line 12 is not a valid event"),
    ],
)
def test_a_file_that_was_changed_is_refused_and_nothing_stored(
    change: Any, complaint: str, ids: list[UUID], file: Path
) -> None:
    file.write_bytes(change(export(file)))
    wipe()
    with pytest.raises(CommandError, match=complaint) as refused:
        import_archive(file)
    assert refused.value.returncode == 1
    assert not ArchivedEvent.objects.exists()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"not json", "not_json"),
        (b'{"version": "1.0"}', "invalid_envelope"),
        (on_the_wire(ParcelSent(parcel_id="p")).replace(b"parcel.sent", b"parcel.lost"), "unknown_type"),
        (on_the_wire(ParcelSent(parcel_id="p")).replace(b'"weight":1.5', b'"weight":"?"'), "invalid_data"),
        (b'"' + b"x" * 1_000_010 + b'"', "too_large"),
    ],
)
def test_a_line_that_is_no_event_is_named_and_nothing_stored(line: bytes, complaint: str, file: Path) -> None:
    rewrite(file, on_the_wire(ParcelSent(parcel_id="fine")) + b"\n" + line + b"\n")
    with pytest.raises(CommandError, match=f"line 2 .*{complaint}"):
        import_archive(file)
    assert not ArchivedEvent.objects.filter(aggregate_id="fine").exists()


def test_a_file_without_manifest_is_refused(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.raises(CommandError, match="is missing: nothing vouches"):
        import_archive(file)


def test_an_event_that_is_here_with_other_content_is_named(ids: list[UUID], file: Path) -> None:
    rewrite(file, export(file).replace(b"0.10", b"0.1"))
    with pytest.raises(CommandError, match=f"Event {ids[0]} is here already, with other content"):
        import_archive(file)


def test_an_event_whose_number_another_has_is_named(ids: list[UUID], file: Path) -> None:
    other = on_the_wire(ParcelSent(parcel_id="p-0"), event_id=new_id())
    rewrite(file, other + b"\n")
    with pytest.raises(CommandError, match="is number 1 of parcel p-0, and here that is event"):
        import_archive(file)
    assert ArchivedEvent.objects.count() == len(ids)


def test_a_month_that_was_pruned_here_does_not_come_back(ids: list[UUID], file: Path) -> None:
    export(file)
    prune_this_month()
    with pytest.raises(CommandError, match=f"{NOW:%Y-%m} was pruned here"):
        import_archive(file)


def uuid7_at(moment: datetime, number: int) -> UUID:
    return UUID(int=first_id_at(moment).int | (7 << 76) | (0b10 << 62) | number)


def test_months_of_long_ago_get_their_partitions(ids: list[UUID], file: Path) -> None:
    old = month_start(NOW, -30)
    event_id = uuid7_at(old, 1)
    rewrite(file, on_the_wire(ParcelSent(parcel_id="old"), event_id=event_id) + b"\n")
    import_archive(file)
    assert months()[old] == [f"event_{old:%Y_%m}", f"processed_event_{old:%Y_%m}"]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM event_{old:%Y_%m}")
        assert cursor.fetchone() == (1,)


def test_events_of_a_month_that_lie_in_the_default_partition_are_moved_when_it_is_made(file: Path) -> None:
    old = month_start(NOW, -30)
    there, new = (uuid7_at(old, number) for number in (1, 2))
    publish_at(there)
    rewrite(file, on_the_wire(ParcelSent(parcel_id="old"), event_id=new) + b"\n")
    import_archive(file)
    assert old in months()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM event_{old:%Y_%m} ORDER BY id")
        assert cursor.fetchall() == [(there,), (new,)]


def test_filters_choose_by_time_type_and_aggregate(ids: list[UUID], file: Path, capsys: Any) -> None:
    publish_at(uuid7_at(month_start(NOW, -2), 1))

    def chosen(*arguments: str) -> int:
        capsys.readouterr()
        export(file, *arguments, "--json")
        return int(json.loads(capsys.readouterr().out)["events"])

    this_month = month_start(NOW).isoformat()
    assert chosen() == 12
    assert chosen("--to", this_month) == 1
    assert chosen("--from", this_month) == 11
    assert chosen("--type", "parcel.weighed") == 5
    assert chosen("--type", "parcel.weighed", "parcel.sent", "--aggregate", "p-0", "p-1", "--from", "1h") == 8
    manifest = json.loads(file.with_name("events.jsonl.manifest.json").read_text())
    assert (manifest["types"], manifest["aggregates"]) == (["parcel.weighed", "parcel.sent"], ["p-0", "p-1"])


def test_a_killed_export_leaves_the_file_before_it(ids: list[UUID], file: Path) -> None:
    before = export(file)
    publish(ParcelSent(parcel_id="more"))

    def die(events: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        archive_export.export_to(file, Chosen(), die)
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == ["events.jsonl", "events.jsonl.manifest.json"]
    # What a process leaves that could not tidy up is in nobody's way.
    file.with_name("events.jsonl.part").write_text("half")
    assert len(export(file).splitlines()) == 12


def test_standard_output_gets_the_lines_alone(ids: list[UUID], file: Path, capfdbinary: Any) -> None:
    body = export(file)
    capfdbinary.readouterr()
    call_command("export_archive", "-")
    out, error = capfdbinary.readouterr()
    assert out == body
    assert sha256(body).hexdigest().encode() in error


def test_a_folder_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    for command in ("export_archive", "import_archive"):
        with pytest.raises(CommandError) as refused:
            call_command(command, str(tmp_path / str(uuid4()) / "file"))
        assert refused.value.returncode == (2 if command == "export_archive" else 1)
