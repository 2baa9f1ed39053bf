"""Probes of load balancers, containers and scripts."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from script._lib.local import ROOT

Process = subprocess.Popen[bytes]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_a_probe_needs_no_host_name_and_no_tls(client: Client, settings: Any, path: str) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["shop.example"], True
    answer = client.get(path, headers={"Host": "10.0.0.7:8000"})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("age", "code"), [(5, 0), (60, 1), (None, 1)])
def test_a_process_is_alive_by_the_age_of_its_last_sign(tmp_path: Path, age: float | None, code: int) -> None:
    folder = tmp_path / "a shop" / "heartbeats"
    folder.mkdir(parents=True)
    (folder / "beat").touch()
    if age is not None:
        (folder / "relay").touch()
        moment = time.time() - age
        os.utime(folder / "relay", (moment, moment))
    assert alive(folder, "relay") == code


def alive(folder: Path, *arguments: str) -> int:
    env = os.environ | {"LOCAL_DIR": str(folder.parent)}
    return subprocess.run([ROOT / "script/alive", *arguments], env=env, check=False).returncode


@pytest.fixture
def process() -> Iterator[Process]:
    sleeper = subprocess.Popen(["sleep", "600"])
    yield sleeper
    sleeper.kill()
    sleeper.wait()


def sign(folder: Path, process: Process, *, age: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "relay").write_text(f"{process.pid}\n")
    os.utime(folder / "relay", (time.time() - age,) * 2)


def test_who_is_frozen_is_killed_after_so_many_checks_on_end(tmp_path: Path, process: Process) -> None:
    folder = tmp_path / "heartbeats"
    sign(folder, process, age=60)
    os.kill(process.pid, signal.SIGSTOP)
    assert [alive(folder, "relay", "3") for _ in range(2)] == [1, 1]
    # It went on for a moment: they are counted anew.
    sign(folder, process, age=0)
    assert alive(folder, "relay", "3") == 0
    sign(folder, process, age=60)
    assert [alive(folder, "relay", "3") for _ in range(2)] == [1, 1]
    assert process.poll() is None
    assert alive(folder, "relay", "3") == 1
    assert process.wait(10) == -signal.SIGKILL


def test_without_a_number_nobody_is_killed(tmp_path: Path, process: Process) -> None:
    sign(tmp_path / "heartbeats", process, age=3_600)
    assert [alive(tmp_path / "heartbeats", "relay") for _ in range(3)] == [1, 1, 1]
    assert process.poll() is None


def test_who_has_given_no_sign_yet_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "heartbeats").mkdir()
    assert [alive(tmp_path / "heartbeats", "relay", "1") for _ in range(3)] == [1, 1, 1]
