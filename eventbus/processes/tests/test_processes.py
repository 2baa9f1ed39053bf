"""A process of an app's own: it is watched, counts, and ends as those of the bus do."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from eventbus.db.sessions import count_sessions
from eventbus.heartbeats.processes import ProcessStatus, processes
from eventbus.metrics import totals
from eventbus.monitoring import budget
from eventbus.testing.waiting import wait_until

KIND = "pack_parcels"
PROJECT = Path(__file__).resolve().parents[3]
#: It has a connection, counts once, and goes round until it is stopped.
PROGRAM = """
import os, threading
import django
django.setup()
from django.db import connection
connection.settings_dict["NAME"] = os.environ["DATABASE"]
from eventbus import counter
from eventbus.processes import run_process, turned

stopping = threading.Event()
PACKED = counter("parcels_packed_total", "Parcels that were packed.")

def run():
    connection.ensure_connection()
    PACKED.add(3)
    while not stopping.wait(0.05):
        turned("pack_parcels")
    connection.close()
    print("put away", flush=True)

run_process("pack_parcels", run, stopping.set)
"""


@contextmanager
def packing() -> Iterator[subprocess.Popen[str]]:
    """The process, on the database of the test."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env=os.environ
        | {
            "PYTHONPATH": str(PROJECT),
            "DJANGO_SETTINGS_MODULE": "eventbus.tests.settings",
            "DATABASE": str(connection.settings_dict["NAME"]),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status() -> ProcessStatus | None:
    return next((each for each in processes() if each.kind == KIND), None)


def is_alive() -> bool:
    found = status()
    return found is not None and found.alive == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_gives_signs_of_life_and_ends_when_it_is_told(number: signal.Signals) -> None:
    with packing() as process:
        wait_until(is_alive, 60, "a sign of life")
        assert count_sessions("pack parcels") == 1
        # What it has counted comes with its signs.
        wait_until(lambda: totals.read().get(("parcels_packed_total", "", "")) == 3, 60, "what it has counted")
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "put away\n")


@pytest.mark.django_db
def test_one_that_never_ran_is_missed(settings: Any) -> None:
    assert status() is None
    settings.EVENTBUS_OWN_PROCESSES = [KIND]
    assert status() == ProcessStatus(KIND, 0, None)


@pytest.mark.django_db
def test_its_connections_are_counted(settings: Any) -> None:
    settings.EVENTBUS_OWN_PROCESSES = [KIND]
    [need] = [each for each in budget.running_needs() if each.kind == KIND]
    # Its own, and the one of its signs of life.
    assert (need.database, need.broker, need.is_pooled) == (2, 0, False)
