import os
from collections.abc import Iterator

import pytest
from django.db import connection

from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tools.harness.servers import Servers


@pytest.fixture
def pipeline(live_bus: LiveBus) -> LiveBus:
    """The whole pipeline and the counting consumers, all in good health."""
    live_bus.only(*PIPELINE, "worker probe")
    return live_bus


@pytest.fixture
def servers() -> Iterator[Servers]:
    """The servers of this test run, all of them up; whatever the test does to them, they run after it."""
    ours = Servers()
    if not {name: os.environ[name] for name in ("DATABASE_URL", "BROKER_URL")}.items() <= ours.env.items():
        pytest.skip("the servers are not those of script/services: not ours to kill")
    with ours.running():
        yield ours
        for name in ours.services:
            ours.restart(name)
    # Ours may have been cut.
    connection.close()
