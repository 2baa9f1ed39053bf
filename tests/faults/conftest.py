import pytest

from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE


@pytest.fixture
def pipeline(live_bus: LiveBus) -> LiveBus:
    """The whole pipeline and the counting consumers, all in good health."""
    live_bus.only(*PIPELINE, "worker probe")
    return live_bus
