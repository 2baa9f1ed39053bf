"""Fixtures that run the product: servers from `script/services`, and its processes over a database of their own."""

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.support.bus import LiveBus
from tests.support.shops import own_channel
from tools.harness.mail import MailSink
from tools.harness.ports import free_port
from tools.harness.shop import Shop

# The first would log the passwords in our addresses, the second each step of each mail.
for noisy in ("httpx", "mail.log"):
    logging.getLogger(noisy).setLevel(logging.WARNING)

RUNNING = pytest.StashKey[LiveBus]()
LOG_STARTS = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session")
def mail_sink() -> Iterator[MailSink]:
    sink = MailSink(free_port())
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture(scope="session")
def running_bus(
    mail_sink: MailSink, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LiveBus]:
    """Database and vhost, shared by all tests; processes run from when a test first asks for them."""
    if "MANAGEMENT_URL" not in os.environ:
        pytest.skip("MANAGEMENT_URL is not set, and a vhost of our own can't be made without it")
    bus = LiveBus(f"live_{uuid4().hex[:8]}", smtp_port=mail_sink.port, logs=tmp_path_factory.mktemp("logs"))
    request.config.stash[RUNNING] = bus
    try:
        bus.create()
        yield bus
    finally:
        bus.remove()


@pytest.fixture
def live_bus(running_bus: LiveBus, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveBus]:
    """The running bus; Django in the test itself works on its database, without a transaction around the test."""
    if running_bus.is_soiled:
        running_bus.renew()
    with django_db_blocker.unblock(), running_bus.as_default_database():
        yield running_bus
    running_bus.wire.remove_taps()


@pytest.fixture
def shop(live_bus: LiveBus) -> Iterator[Shop]:
    """A sales channel of this test's own. It knows only what it was told."""
    with own_channel(live_bus) as channel:
        yield channel


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the processes said while it ran."""
    report = yield
    bus = item.config.stash.get(RUNNING, None)
    if bus is not None:
        starts = item.stash.setdefault(LOG_STARTS, {})
        for name, process in bus.processes.items():
            if report.when == "setup":
                starts[name] = size(process.log)
            elif report.failed:
                bus.is_soiled = True
                lines = process.says(starts.get(name, 0)).splitlines()[-15:]
                report.sections.append((f"{name} said", "\n".join(line[:250] for line in lines)))
    return report


def size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
