import json
import pickle
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import new_id, publish
from eventbus.testing import on_the_wire
from tests.support.bus import LiveBus
from tests.support.wire import Letter
from tests.testapp.events import NobodyCares, ProbeSent

pytestmark = pytest.mark.live

CONSUMERS = ("probe.count", "probe.audit")
KEY = "probe.sent.v1"
PLAIN = {"content_type": "application/json", "content_encoding": "utf-8"}


@pytest.fixture(autouse=True)
def worker(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe")


def good() -> bytes:
    return on_the_wire(ProbeSent(probe_id=uuid4()))


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(good()) | fields).encode()


CELERY = {
    "lang": "py", "task": "probe.count", "id": str(uuid4()), "root_id": str(uuid4()), "retries": 0, "argsrepr": "()",
}  # fmt: skip

GARBAGE: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "nothing": (b"", "not_json", PLAIN),
    "text": (b"hello", "not_json", PLAIN),
    "half an event": (good()[:-20], "not_json", PLAIN),
    "bad UTF-8": (b'{"version": "\xff\xfe"}', "not_json", PLAIN),
    "NaN": (good().replace(b'"sequence":1', b'"sequence":NaN'), "not_json", PLAIN),
    "100,000 levels deep": (b"[" * 100_000 + b"]" * 100_000, "not_json", PLAIN),
    "an array": (b"[1, 2, 3]", "invalid_envelope", PLAIN),
    "an empty object": (b"{}", "invalid_envelope", PLAIN),
    "an id that is none": (changed(eventId="42"), "invalid_envelope", PLAIN),
    "data of another schema": (changed(data={"probeId": "not a uuid"}), "invalid_data", PLAIN),
    "an unknown type": (changed(eventType="probe.eaten"), "unknown_type", PLAIN),
    "an unknown version": (changed(version="9.9"), "unknown_version", PLAIN),
    "an event for others": (on_the_wire(NobodyCares(nobody_id=uuid4())), "not_subscribed", PLAIN),
    "a NUL": (changed(addedLater="a\0b"), "invalid_data", PLAIN),
    "half a character": (changed(addedLater="\ud800"), "invalid_data", PLAIN),
    "an id of another kind": (changed(eventId=str(uuid4())), "invalid_envelope", PLAIN),
    "another's aggregate": (changed(aggregateId=str(uuid4())), "invalid_envelope", PLAIN),
    "a name twice": (good().replace(b'"sequence":1', b'"sequence":1,"sequence":1'), "invalid_envelope", PLAIN),
    "UTF-16, and it says so": (good().decode().encode("utf-16"), "not_json", PLAIN | {"content_encoding": "utf-16"}),
    "a pickle": (pickle.dumps({"a": 1}), "not_json", {"content_type": "application/x-python-serialize"}),
    "a pickled Celery message": (
        pickle.dumps(((), {}, {})),
        "not_json",
        {"content_type": "application/x-python-serialize", "content_encoding": "binary", "headers": CELERY},
    ),
    "a JSON Celery message": (b"[[], {}, {}]", "invalid_envelope", PLAIN | {"headers": CELERY}),
    "a Celery message of an old protocol": (
        json.dumps({"task": "probe.count", "id": "1", "args": [], "kwargs": {}}).encode(),
        "invalid_envelope",
        PLAIN,
    ),
    # RabbitMQ 4 takes no more than 16 MiB.
    "16 MB": (b'{"data": "' + b"x" * 16_000_000 + b'"}', "too_large", PLAIN),
    "no properties": (b"hello", "not_json", {}),
    "an encoding that nobody knows": (b"hello", "not_json", {"content_type": "x", "content_encoding": "klingon"}),
    "a compressed body": (b"\x1f\x8b\x08", "not_json", {"headers": {"compression": "application/x-gzip"}}),
    "headers of the bus, forged": (
        b"hello",
        "not_json",
        PLAIN | {"headers": {"x-attempt": "many", "x-first-failed-at": "never", "x-delivery-count": "lots"}},
    ),
    "an expiry and a reply address": (b"hello", "not_json", {"expiration": "600000", "reply_to": "me", "priority": 9}),
}


def dead_letters(bus: LiveBus, consumer: str, number: int = 1) -> list[Letter]:
    """At least this many dead letters of a consumer, once they are there."""
    found: list[Letter] = []

    def are_there() -> bool:
        found.extend(bus.wire.take_all(f"{consumer}.dead"))
        return len(found) >= number

    bus.wait_for(are_there, f"the dead letters of {consumer}")
    return found


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_becomes_a_dead_letter_of_each_consumer_with_the_reason(live_bus: LiveBus, kind: str) -> None:
    body, reason, properties = GARBAGE[kind]
    live_bus.wire.publish(body, key=KEY, **properties)
    for consumer in CONSUMERS:
        (letter,) = dead_letters(live_bus, consumer)
        assert letter.headers["x-dead-reason"] == reason
        assert letter.headers["x-consumer"] == consumer
        assert letter.headers["x-error-class"] == "eventbus.errors.InvalidEvent"
        assert letter.body == body
        assert live_bus.wire.ready(consumer) == 0


def test_garbage_takes_no_good_event_with_it(live_bus: LiveBus) -> None:
    """All kinds at once, good ones between them, faster than the worker takes them: batches are mixed."""
    small = {kind: each for kind, each in GARBAGE.items() if len(each[0]) < 1_000_000}
    with transaction.atomic():
        event_ids = publish(*(ProbeSent(probe_id=uuid4()) for _ in range(100)))
    for body, _, properties in small.values():
        live_bus.wire.publish(body, key=KEY, **properties)
    with transaction.atomic():
        event_ids += publish(*(ProbeSent(probe_id=uuid4()) for _ in range(100)))
    live_bus.drain()

    for consumer in CONSUMERS:
        letters = dead_letters(live_bus, consumer, len(small))
        assert sorted(letter.body for letter in letters) == sorted(body for body, *_ in small.values())
        assert live_bus.effects(consumer, *event_ids) == 200
    live_bus.verify()


def test_an_event_of_another_program_is_handled_like_ours(live_bus: LiveBus) -> None:
    """Any program may publish: an envelope as the body is all that a consumer needs. It may know more than we do, and
    its properties and headers count for nothing."""
    event_id = new_id()
    newer = changed(eventId=str(event_id), version="1.7", addedLater=True)
    forged = {"x-delivery-count": 25, "x-first-failed-at": "9999-12-31"}
    live_bus.wire.publish(newer, key=KEY, content_encoding="utf-16", headers=forged)
    for consumer in CONSUMERS:
        live_bus.wait_for(partial(live_bus.effects, consumer, event_id), consumer)
        assert live_bus.effects(consumer, event_id) == 1


def test_nothing_is_left_unacknowledged(live_bus: LiveBus) -> None:
    """A worker that ends gives back what it has not acknowledged: nothing comes back."""
    live_bus.wire.publish(b"hello", key=KEY)
    for consumer in CONSUMERS:
        dead_letters(live_bus, consumer)
    live_bus.term("worker probe")
    assert [live_bus.wire.ready(consumer) for consumer in CONSUMERS] == [0, 0]
