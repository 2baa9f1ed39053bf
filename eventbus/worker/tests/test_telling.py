"""What is told of a failure says nothing of the customer: in the log, in Flower, in the dead letter."""

import json
import traceback
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from structlog.testing import capture_logs

from eventbus.broker.publisher import Outgoing
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS, Retry, consumer
from eventbus.errors import PermanentFailure
from eventbus.ids import new_id
from eventbus.testing.bus import on_the_wire
from eventbus.worker import processing
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import BatchFailed, Settled
from eventbus.worker.telling import told


@pytest.fixture
def contract(monkeypatch: pytest.MonkeyPatch) -> type[Event]:
    monkeypatch.setattr("eventbus.contracts.registry.CONTRACTS", dict(CONTRACTS))

    class GuestBooked(Event, type="guest.booked", version="1.0", aggregate="room_id"):
        room_id: str
        name: str
        email: str
        address: dict[str, str]

    return GuestBooked


SECRETS = ("Lovelace", "home.example", "Harbour", "Bristol")


def booking(contract: type[Event]) -> Any:
    address = {"street": "12 Harbour Road", "city": "Bristol", "country": "GB"}
    return contract(room_id="r-17", name="Ada Lovelace", email="ada@home.example", address=address)


def by_itself(event: Any) -> None:
    raise ValueError(f"{event!r} can't be booked: {event.email.upper()} is known, {event.address}")


def for_ever(event: Any) -> None:
    raise PermanentFailure(f"{event.name} of 12 Harbour Road, Bristol, is not welcome.")


def by_the_database(event: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::json", [f'{{"name": "{event.name}", {event.address}'])


def by_what_it_caught(event: Any) -> None:
    try:
        {}[event.email]
    except KeyError as error:
        raise RuntimeError("no such guest") from error


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("times", [0, 3], ids=["given up", "postponed"])
@pytest.mark.parametrize("fail", [by_itself, for_ever, by_the_database, by_what_it_caught])
def test_no_failure_tells_what_the_event_says(
    fail: Callable[[Any], None], times: int, contract: type[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Outgoing] = []

    def send(*messages: Outgoing) -> bool:
        sent.extend(messages)
        return True

    monkeypatch.setattr(processing, "_send", send)
    declared = consumer(f"guests.book_{uuid4().hex[:6]}", on=[contract], retry=Retry(times=times))(fail)
    deliveries = [Delivery(on_the_wire(booking(contract), event_id=new_id())) for _ in range(2)]
    try:
        with capture_logs() as lines:
            with pytest.raises(BatchFailed) as split:
                processing.run_batch(declared, deliveries)
            with pytest.raises(Settled) as settled:
                processing.run_one(declared, deliveries[0])
    finally:
        del CONSUMERS[declared.name]

    flower = [*traceback.format_exception(split.value), *traceback.format_exception(settled.value)]
    headers = (
        sent[0].properties["application_headers"] if sent else fetch("SELECT headers, last_error FROM waiting_retry")
    )
    for secret in SECRETS:
        assert secret.lower() not in f"{lines} {flower} {headers}".lower()
    assert "r-17" in str(headers) or fail is not by_itself


def test_a_value_is_told_by_the_name_of_its_field() -> None:
    data = {"room": "r-1", "customerEmail": "ada@home.example", "sku": "c-1", "note": 'gift ä"', "n": "x"}
    body = json.dumps({"aggregateId": "r-1", "data": data})
    assert told('r-1: c-1 wants "gift ä\\"" (ada@home.example, eve@x.example) x', body) == (
        'r-1: [sku] wants "[note]" ([customerEmail], [e-mail]) x'
    )


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff", b"[" * 100_000, b'{"data": null}'])
def test_what_is_no_event_hides_addresses_all_the_same(body: bytes) -> None:
    assert told("ada@home.example is not known", body) == "[e-mail] is not known"
