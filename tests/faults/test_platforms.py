"""RabbitMQ in other versions than the one that this machine has."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from script._lib import platforms
from script._lib.local import OFFSET, ROOT
from script._lib.platforms import BY_RABBITMQ, PLATFORMS, ROOTS, Platform, Unavailable

Services = Callable[..., str]


@pytest.fixture(params=BY_RABBITMQ)
def platform(request: pytest.FixtureRequest) -> Platform:
    """Each of them that can be had."""
    wanted = BY_RABBITMQ[request.param]
    try:
        wanted.make()
    except Unavailable as why:
        pytest.skip(str(why))
    return wanted


@pytest.fixture
def services(platform: Platform, tmp_path: Path) -> Iterator[Services]:
    """`script/services` of a copy of its own, with the platform's RabbitMQ; returns what it prints."""
    own = {"LOCAL_DIR": str(tmp_path), "PORT_OFFSET": str(OFFSET + 700), "PRIVATE_RABBITMQ": platform.rabbitmq}

    def ask(*arguments: str, **others: str) -> str:
        env = os.environ | own | {"BROKER_URL": ""} | others
        command = [str(ROOT / "script/services"), *arguments]
        return subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout

    yield ask
    ask("stop", "rabbitmq")


def processes_below(folder: Path) -> list[str]:
    """The commands that work in that folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found.append((process / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass  # ended meanwhile, or not ours
    return found


@pytest.mark.live
@pytest.mark.faults
@pytest.mark.long
def test_the_private_broker_runs_in_another_version_and_leaves_nothing(
    services: Services, platform: Platform, tmp_path: Path
) -> None:
    services("start", "rabbitmq")
    assert services("rabbitmqctl", "version").startswith(f"{platform.rabbitmq}.")

    services("kill", "rabbitmq")
    services("start", "rabbitmq")
    assert services("rabbitmqctl", "eval", "rabbit_misc:version().").startswith(f'"{platform.rabbitmq}.')

    # Whoever stops it need not know which version it is.
    services("stop", "rabbitmq", PRIVATE_RABBITMQ="")
    assert processes_below(tmp_path) == []
    assert str(ROOTS) not in Path("/proc/self/mountinfo").read_text()


def test_without_root_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="for root alone"):
        PLATFORMS["debian13"].make()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_the_mirror_it_says_so_and_makes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platforms, "ROOTS", tmp_path)
    monkeypatch.setattr(platforms, "MIRROR", "http://127.0.0.1:9/debian")
    with pytest.raises(Unavailable, match="can't be reached"):
        PLATFORMS["debian13"].make()
    assert not PLATFORMS["debian13"].root.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_one_that_lacks_what_the_project_needs_by_now_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platforms, "ROOTS", tmp_path)
    monkeypatch.setattr(platforms, "MIRROR", "http://127.0.0.1:9/debian")
    listed = PLATFORMS["debian13"].root / platforms.INSTALLED
    listed.parent.mkdir(parents=True)
    listed.write_text(PLATFORMS["debian13"].packages)
    PLATFORMS["debian13"].make()
    listed.write_text("postgresql")
    with pytest.raises(Unavailable, match="can't be reached"):
        PLATFORMS["debian13"].make()
