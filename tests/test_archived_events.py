"""The code of today still understands the archives of yesterday: kept events of every contract version go through every
consumer that listens to them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.contrib.auth.models import User

from eventbus import Consumer, Event
from eventbus.contracts.casting import cast
from eventbus.contracts.codec import decode
from eventbus.declaration import CONSUMERS
from eventbus.declaration import consumer as declare
from eventbus.testing import ProcessedEvent, deliver
from inventory.services import receive_stock
from notifications.events import NotificationQueued
from notifications.models import Mail
from notifications.models import State as MailState
from orders.events import OrderConfirmed, OrderCreated
from orders.services import store_as_told
from tests.support.event_fixtures import COMMAND, FOLDER, contracts, digest_of, file_of, is_ours, sums
from tools.harness.mail import MailSink

FILES = sorted(FOLDER.glob("*.jsonl"))


def test_every_version_of_a_contract_has_kept_events() -> None:
    without = [" ".join(contract) for contract in contracts() if not file_of(*contract).exists()]
    assert without == [], (
        f"There are none of {', '.join(without)}. Run script/server, let what publishes them happen (script/demo), "
        f"then `{COMMAND}`, and commit the new files."
    )


def test_kept_events_are_never_edited() -> None:
    found = {file.name: digest_of(file) for file in FILES}
    assert found == sums(), (
        "The files stand for archives that nobody can change: restore them with git. A contract that no longer reads "
        f"them needs a new version. What `{COMMAND}` writes is listed in {FOLDER.name}/SHA256SUMS by itself."
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kept_events_are_read_today(file: Path) -> None:
    for line in file.read_bytes().splitlines():
        raw = json.loads(line)
        assert file_of(raw["eventType"], raw["version"]) == file
        assert str(decode(line).envelope.event_id) == raw["eventId"]


@pytest.fixture
def followed() -> Iterator[set[UUID]]:
    """The orders that a consumer has seen confirmed which keeps order per aggregate, as one in `consumers/` may."""
    seen: set[UUID] = set()
    with patch.dict(CONSUMERS):
        declare("small.follow", on=[OrderConfirmed], ordered=True)(lambda event: seen.add(event.order_id))
        yield seen


@pytest.mark.django_db
def test_kept_events_go_through_todays_consumers_once(mail_sink: MailSink, settings: Any, followed: set[UUID]) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail_sink.port
    history = sorted(read_all(), key=lambda event: event.envelope.event_id)
    stock_up(history)
    channel = User.objects.create_user("channel")
    for event in history:
        if prepare := PREPARE.get(event.type):
            prepare(event, channel)
        for consumer in listening_to(event):
            assert not is_done(event, consumer), f"{consumer.name}: {event.type} counts as known before it came."
            # An ordered one brings along what today's consumers have published before it of this order.
            assert handle(event, consumer) >= 1
            assert is_done(event, consumer)
    again = [handle(event, consumer) for event in history for consumer in listening_to(event)]
    assert sum(again) == 0
    assert sorted(followed) == sorted({event.order_id for event in history if isinstance(event, OrderConfirmed)})
    told = {event.mail_id for event in history if isinstance(event, NotificationQueued)}
    assert told == set(Mail.objects.filter(state=MailState.SENT).values_list("pk", flat=True))


def read_all() -> Iterator[Event]:
    for file in FILES:
        yield from map(decode, file.read_bytes().splitlines())


def listening_to(event: Event) -> list[Consumer]:
    return [
        consumer
        for consumer in CONSUMERS.values()
        if event.routing_key() in consumer.routing_keys
        and (is_ours(consumer.handler.__module__) or consumer.name == "small.follow")
    ]


def is_done(event: Event, consumer: Consumer) -> bool:
    return ProcessedEvent.objects.filter(event_id=event.envelope.event_id, consumer=consumer.name).exists()


def handle(event: Event, consumer: Consumer) -> int:
    try:
        return deliver(event, to=consumer)
    except Exception as error:
        raise AssertionError(
            f"{consumer.name} can't handle an archived {event.type} any more ({event.envelope.event_id}): {error!r}"
        ) from error


# Consumers find what requests and other processes left behind before the event was sent.


def stock_up(history: list[Event]) -> None:
    orders = [cast(event, OrderCreated) for event in history if event.type == OrderCreated.type]
    for product_id in {item.product_id for order in orders for item in order.items}:
        receive_stock(product_id=product_id, product_name=product_id, quantity=1_000_000)


def give_the_mail_its_id(event: NotificationQueued, channel: User) -> None:
    # Written a moment ago by the consumer of the order's event, under a new id.
    assert Mail.objects.filter(order_id=event.order_id, kind=event.kind).update(id=event.mail_id) == 1


def store_the_order(event: Event, channel: User) -> None:
    # Of whatever version it is.
    store_as_told(cast(event, OrderCreated), channel)


PREPARE: dict[str, Callable[[Any, User], None]] = {
    OrderCreated.type: store_the_order,
    NotificationQueued.type: give_the_mail_its_id,
}
