"""A process that is told to end, whatever it is in the midst of."""

import signal
import subprocess
import sys

import pytest

OBEDIENT = """
import threading
from eventbus.management.ending import end_when_told
told = threading.Event()
end_when_told(told.set)
print("here", flush=True)
told.wait()
"""
#: Its main thread never comes back to where a signal's handler could run.
DEAF = """
import os, threading
from eventbus.management.ending import end_when_told
end_when_told(lambda: None, grace={grace})
print("here", flush=True)
read, _ = os.pipe()
os.read(read, 1)
"""


def started(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_can_stop_stops(number: signal.Signals) -> None:
    with started(OBEDIENT) as process:
        process.send_signal(number)
        assert process.wait(20) == 0


def test_who_can_not_is_ended_when_the_time_is_up() -> None:
    with started(DEAF.format(grace=0.2)) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1


def test_a_second_signal_ends_it_at_once() -> None:
    with started(DEAF.format(grace=3600)) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
