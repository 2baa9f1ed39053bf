import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from eventbus.conf import bus_settings
from eventbus.heartbeats import beating
from eventbus.heartbeats.beating import Beating
from eventbus.heartbeats.models import Heartbeat
from eventbus.heartbeats.processes import ProcessStatus, expected_kinds, processes

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.EVENTBUS_HEARTBEAT_DIR = tmp_path / "signs of life"
    return tmp_path / "signs of life"


def test_a_sign_is_a_row_and_a_file(folder: Path) -> None:
    process = Beating("packer", frozenset({"loop"}))
    process.turned("loop")
    assert process.sign()
    (row,) = Heartbeat.objects.all()
    assert (row.kind, row.code_version) == ("packer", bus_settings.CODE_VERSION)
    assert row.beat_at - row.started_at < timedelta(seconds=60)
    # For who has to kill it.
    assert (folder / "packer").read_text() == f"{os.getpid()}\n"


def test_there_is_no_sign_until_every_loop_has_turned_again(folder: Path) -> None:
    process = Beating("packer", frozenset({"fetching", "sending"}))
    turns = [["fetching"], ["sending"], ["sending"], ["sending", "fetching"]]
    seen = []
    for loops in turns:
        for loop in loops:
            process.turned(loop)
        seen.append(process.sign())
    assert seen == [False, True, False, True]


def test_a_process_without_loops_is_asked_whether_it_works() -> None:
    answers = iter([True, False])
    process = Beating("packer", frozenset(), lambda: next(answers))
    assert [process.sign(), process.sign()] == [True, False]


def test_a_folder_that_cannot_be_written_costs_the_file_and_not_the_row(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "file").touch()
    settings.EVENTBUS_HEARTBEAT_DIR = tmp_path / "file" / "folder"
    process = Beating("packer", frozenset())
    assert process.sign()
    assert Heartbeat.objects.filter(kind="packer").exists()


def test_a_process_whose_work_is_stuck_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(beating, "end", ended.set)
    monkeypatch.setattr(beating, "PERIOD", 0.01)
    monkeypatch.setattr(beating, "STUCK_AFTER", 0.05)
    process = Beating("packer", frozenset({"loop"}))
    process.turned("loop")
    assert process.sign()
    thread = threading.Thread(target=process._run)
    thread.start()
    assert ended.wait(10)
    thread.join()


def heartbeat(kind: str, *, age: float, pid: int = 1) -> None:
    Heartbeat.objects.create(
        kind=kind, host="h", pid=pid, code_version="v1", started_at=datetime(2026, 1, 1, tzinfo=UTC), beat_at=now(age)
    )


def now(age: float) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() - %s * interval '1 second'", [age])
        (moment,) = cursor.fetchone() or (None,)
    assert isinstance(moment, datetime)
    return moment


def status(kind: str) -> ProcessStatus:
    (found,) = [each for each in processes() if each.kind == kind]
    return found


def test_who_gave_a_sign_lately_is_alive() -> None:
    heartbeat("web", age=1)
    heartbeat("web", age=60, pid=2)
    web = status("web")
    assert (web.alive, web.versions) == (1, ("v1",))
    assert web.last_seconds == pytest.approx(1, abs=1)


def test_a_kind_that_was_there_once_is_listed_when_it_is_gone() -> None:
    heartbeat("web", age=3_600)
    assert status("web").alive == 0


def test_what_is_declared_is_expected_though_it_never_ran() -> None:
    assert [(each.kind, each.alive) for each in processes()] == [(kind, 0) for kind in expected_kinds()]
    assert {"relay", "beat", "worker_dead_letters", "worker_eventbus"} <= set(expected_kinds())


def test_of_old_processes_only_the_last_of_its_kind_is_remembered() -> None:
    day = 24 * 3_600
    heartbeat("web", age=3 * day, pid=1)
    heartbeat("web", age=2 * day, pid=2)
    heartbeat("packer", age=2 * day, pid=3)
    Beating("packer", frozenset()).sign()
    assert list(Heartbeat.objects.filter(kind="web").values_list("pid", flat=True)) == [2]
    assert 3 not in Heartbeat.objects.filter(kind="packer").values_list("pid", flat=True)
