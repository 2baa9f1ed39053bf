"""The private servers die while `script/server` keeps them."""

import threading
from collections.abc import Iterator

import pytest

from script._lib import services
from script._lib.keeper import Keeper
from script._lib.waiting import wait_until
from tools.harness.servers import BROKER, MAIL, POSTGRES, Servers

pytestmark = [pytest.mark.live, pytest.mark.faults]


@pytest.fixture
def said(servers: Servers) -> Iterator[list[str]]:
    """What the keeper of the servers says."""
    lines: list[str] = []
    stopping = threading.Event()
    keeper = Keeper(servers.services.values(), say=lambda name, text: lines.append(f"{name} {text}"), stopping=stopping)
    keeper.start()
    yield lines
    stopping.set()
    keeper.join()


def test_killed_servers_are_started_again(servers: Servers, said: list[str]) -> None:
    before = {name: servers.pid(name) for name in (POSTGRES, BROKER, MAIL)}
    for name in before:
        servers.kill(name)
    for name, pid in before.items():
        wait_until(lambda name=name: f"{name} is back" in said, 90, f"{name} to be back")  # type: ignore[misc]
        assert servers.pid(name) not in (None, pid)
        assert servers.services[name].answers()


def test_a_server_that_was_stopped_stays_down_until_it_is_started(servers: Servers, said: list[str]) -> None:
    with services.open_local():
        services.stop([MAIL])
    servers.kill(POSTGRES)
    wait_until(lambda: f"{POSTGRES} is back" in said, 60, "the keeper to have looked at all of them")
    assert servers.pid(MAIL) is None
