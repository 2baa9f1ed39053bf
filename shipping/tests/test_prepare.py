"""A parcel is made of two events that come in any order, and is stopped by a third at any time."""

from itertools import permutations
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventbus import Event
from eventbus.testing import deliver
from shipping import services
from shipping.consumers import cancel, prepare
from shipping.models import Shipment
from shipping.tests.builders import (
    ADDRESS,
    HOW,
    order_cancelled,
    order_created,
    order_rejected,
    prepared_shipment,
    reserved,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("reserved_first", [True, False])
def test_a_parcel_is_ready_when_both_parts_are_known(reserved_first: bool, together: bool) -> None:
    created = order_created()
    events: list[Any] = [created, reserved(created.order_id)]
    if reserved_first:
        events.reverse()
    if together:
        deliver(events, to=prepare)
    else:
        deliver(events[0], to=prepare)
        assert Shipment.objects.get().state == "WAITING"
        deliver(events[1], to=prepare)
    shipment = Shipment.objects.get()
    assert (shipment.pk, shipment.state) == (created.order_id, "PREPARED")
    assert shipment.address == ADDRESS.model_dump(by_alias=True)
    assert shipment.items == [{"productId": "cup", "quantity": 2}]


@pytest.mark.parametrize("ending", [order_cancelled, order_rejected])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_is_called_off_is_never_ready_whatever_comes_when(ending: Any, order: tuple[int, ...]) -> None:
    created = order_created()
    ended = ending(created.order_id)
    events: list[Event] = [created, reserved(created.order_id), ended]
    for place in (*order, *order):
        deliver(events[place], to=cancel if events[place] is ended else prepare)
    shipment = Shipment.objects.get()
    assert (shipment.state, shipment.address) == ("CALLED_OFF", None)


def test_a_parcel_that_left_stays_as_it_is() -> None:
    shipment = prepared_shipment()
    services.dispatch(order_id=shipment.pk, **HOW)
    deliver([order_created(shipment.pk), reserved(shipment.pk)], to=prepare)
    with pytest.raises(services.AlreadyGone, match=str(shipment.pk)):
        deliver(order_cancelled(shipment.pk), to=cancel)
    shipment.refresh_from_db()
    assert (shipment.state, shipment.carrier) == ("DISPATCHED", "Fast Parcel")


def test_a_batch_takes_as_many_statements_as_a_pair() -> None:
    def statements(count: int) -> list[int]:
        created = [order_created() for _ in range(count)]
        counts = []
        for events, consumer in (
            ([*created, *(reserved(each.order_id) for each in created)], prepare),
            ([order_cancelled(each.order_id) for each in created], cancel),
        ):
            with CaptureQueriesContext(connection) as captured:
                deliver(events, to=consumer)
            counts.append(len(captured))
        return counts

    assert statements(30) == statements(2)
