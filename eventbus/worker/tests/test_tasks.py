import gc
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
