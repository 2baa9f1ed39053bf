import gc
import sys
from collections.abc import Iterator

import pytest
from celery.signals import worker_before_create_process

from eventbus.worker import tasks


class Pool:
    """As far as the signal's receivers look at it."""

    _processes = 0


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_is_loaded_before_a_pool_process_is_made_is_left_alone_by_the_garbage_collector() -> None:
    assert any(tasks.ConsumerTask is each for each in gc.get_objects())
    worker_before_create_process.send(sender=Pool())
    assert gc.get_freeze_count() > 0
    assert not any(tasks.ConsumerTask is each for each in gc.get_objects())


@pytest.mark.usefixtures("thawed")
def test_what_a_pool_process_loads_first_is_loaded_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each has a copy of its own."""
    pytest.importorskip("cffi")
    monkeypatch.delitem(sys.modules, "cffi.cparser", raising=False)
    monkeypatch.delattr("cffi.cparser", raising=False)
    worker_before_create_process.send(sender=Pool())
    assert "cffi.cparser" in sys.modules
