import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User

from webhooks.delivering import Deliverer
from webhooks.tests.builders import a_partner
from webhooks.tests.partner import Partner


@pytest.fixture(autouse=True)
def at_home(settings: Any) -> None:
    """Partners of tests live here."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def owner(db: None) -> User:
    return a_partner()


@pytest.fixture
def partners() -> Iterator[Callable[[], Partner]]:
    """Makes servers that are stopped after the test."""
    with ExitStack() as stack:

        def make() -> Partner:
            server = Partner()
            server.start()
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture
def partner(partners: Callable[[], Partner]) -> Partner:
    return partners()


@contextmanager
def running() -> Iterator[Deliverer]:
    """A process that delivers, as a thread of this one."""
    deliverer = Deliverer()
    thread = threading.Thread(target=deliverer.run)
    thread.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()
        thread.join()


@pytest.fixture
def delivering(transactional_db: None) -> Iterator[Deliverer]:
    """For tests that commit: it has a connection of its own."""
    with running() as deliverer:
        yield deliverer
