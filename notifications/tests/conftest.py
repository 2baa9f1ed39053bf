from collections.abc import Iterator
from typing import Any

import pytest

from notifications.connections import connections
from notifications.tests.sink import Sink


@pytest.fixture
def sink(settings: Any) -> Iterator[Sink]:
    """A mail server that behaves, until the test tells it otherwise."""
    server = Sink()
    server.start()
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    try:
        yield server
    finally:
        server.may_answer.set()
        server.may_greet.set()
        connections.close()
        server.stop()
