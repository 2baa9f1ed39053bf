from eventbus.tests.builders import declare
from eventbus.worker.consumed_queues import broker_queue


def test_the_prefetch_leaves_room_for_a_batch_in_every_slot_and_one_waiting() -> None:
    queue = broker_queue(declare(concurrency=2, batch=10), consumers=1, processes=8)
    assert queue.prefetch == 30
    # kombu copies a queue when it binds it to a channel, by the attributes it knows of.
    assert type(queue).attrs[-1] == ("prefetch", int)
