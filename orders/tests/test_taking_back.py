"""An order that a restored database has forgotten comes back as it was."""

from uuid import UUID, uuid4

import pytest

from eventbus.testing import ArchivedEvent, from_archive
from orders import services
from orders.consumers import take_back_order
from orders.events import OrderCreated
from orders.invariants import ORDER_ID, forgotten_orders
from orders.models import Order, OrderItem
from orders.tests.builders import a_channel, created_event, placed_order

pytestmark = pytest.mark.django_db


def created(order: Order) -> OrderCreated:
    event = from_archive(ArchivedEvent.objects.get(pk=created_event(order)))
    assert isinstance(event, OrderCreated)
    return event


def rows_of(order_id: UUID) -> object:
    items = OrderItem.objects.filter(order=order_id).order_by("line")
    without_id = [{name: value for name, value in row.items() if name != "id"} for row in items.values()]
    return Order.objects.filter(pk=order_id).values().get(), without_id


def test_an_order_taken_back_is_the_one_that_was_placed() -> None:
    order = placed_order()
    event, before = created(order), rows_of(order.pk)
    Order.objects.filter(pk=order.pk).delete()
    take_back_order(event)
    assert rows_of(order.pk) == before


def test_an_order_of_an_account_that_is_not_there_is_refused() -> None:
    channel = a_channel()
    order = placed_order(channel)
    event = created(order)
    Order.objects.filter(pk=order.pk).delete()
    channel.delete()
    with pytest.raises(services.UnknownChannel, match=f"No account has the number {event.envelope.metadata.user_id}"):
        take_back_order(event)
    assert not Order.objects.filter(pk=order.pk).exists()


def test_logs_and_lists_tell_of_orders() -> None:
    order, unknown = placed_order(), str(uuid4())
    lines = (f'"POST /api/v1/orders HTTP/1.1" 201 "http://shop/api/v1/orders/{unknown}"', f"{order.pk}\n", "x y")
    found = [order_id for line in lines for order_id in ORDER_ID.findall(line)]
    assert found == [unknown, str(order.pk)]
    assert forgotten_orders(found) == {unknown}
