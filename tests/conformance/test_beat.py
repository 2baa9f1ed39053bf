"""Beat sends the periodic tasks, whatever lies on the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from script._lib import procfile
from script._lib.process import Process
from tests.support.bus import LiveBus

pytestmark = pytest.mark.live
UPKEEP = "eventbus.upkeep"


@pytest.fixture
def beat(live_bus: LiveBus) -> Iterator[Process]:
    """Beat as the Procfile starts it, not yet started; nobody takes what it sends."""
    live_bus.only("relay")
    with live_bus.wire.channel() as channel:
        channel.queue_purge(UPKEEP)
    process = live_bus.process("beat", procfile.commands()["beat"])
    yield process
    process.kill()


def test_beat_runs_in_a_folder_with_a_space_beside_a_damaged_schedule(
    live_bus: LiveBus, beat: Process, tmp_path: Path
) -> None:
    folder = tmp_path / "our own shop"
    folder.mkdir()
    for name in ("beat-schedule", "beat-schedule.dat", "beat-schedule.dir"):
        (folder / name).write_bytes(b"\x00cut off")
    schedules = list(folder.iterdir())
    beat.start(LOCAL_DIR=str(folder))
    live_bus.wait_for(lambda: live_bus.wire.ready(UPKEEP) > 0, "a periodic task")
    assert beat.is_alive
    assert {path.read_bytes() for path in schedules} == {b"\x00cut off"}
    assert {path for path in folder.iterdir() if path.is_file()} == set(schedules)


def test_a_restarted_beat_does_not_put_off_what_runs_once_a_day(live_bus: LiveBus, beat: Process) -> None:
    beat.start()
    live_bus.wait_for(lambda: "eventbus.prune_archive" in beat.says(), "the task of once a day")
