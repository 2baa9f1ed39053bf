"""order.status_changed: beside each change of an order's status, and it says nothing but which order."""

from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventbus.testing import ArchivedEvent, deliver, published
from inventory.events import InventoryReserved
from orders import services
from orders.consumers import confirm, ship
from orders.events import OrderStatusChanged
from orders.tests.builders import dispatched, placed_order

pytestmark = pytest.mark.django_db


def history(order_id: UUID) -> list[str]:
    found = ArchivedEvent.objects.filter(aggregate_id=str(order_id)).order_by("sequence")
    return [kind.partition(".")[2] for kind in found.values_list("type", flat=True)]


def test_each_change_of_a_status_has_one_after_it() -> None:
    confirmed, rejected, cancelled, shipped, untouched = (placed_order().pk for _ in range(5))
    services.confirm_order(order_id=confirmed)
    services.reject_order(order_id=rejected, reason="insufficient_stock")
    services.cancel_order(order_id=cancelled, reason="requested")
    deliver(dispatched(shipped), to=ship)

    changed = "status_changed"
    assert history(confirmed) == ["created", "confirmed", changed]
    assert history(rejected) == ["created", "rejected", changed]
    assert history(cancelled) == ["created", "cancelled", changed]
    assert history(shipped) == ["created", "confirmed", changed, "shipped", changed]
    assert history(untouched) == ["created"], "a new order has changed nothing yet"


def test_it_is_thin() -> None:
    order_id = placed_order().pk
    services.confirm_order(order_id=order_id)
    [event] = published(OrderStatusChanged)
    assert event.model_dump(by_alias=True) == {"orderId": order_id}


def test_it_has_the_cause_and_the_moment_of_the_change() -> None:
    order_id = placed_order().pk
    deliver(InventoryReserved(order_id=order_id, items=()), to=confirm)
    told, thin = (ArchivedEvent.objects.get(type=f"order.{name}") for name in ("confirmed", "status_changed"))
    assert told.causation_id is not None
    assert thin.causation_id == told.causation_id
    assert (thin.correlation_id, thin.occurred_at) == (told.correlation_id, told.occurred_at)


def test_what_changes_nothing_says_nothing() -> None:
    order_id = placed_order().pk
    for _ in range(2):
        services.cancel_order(order_id=order_id, reason="requested")
    assert len(published(OrderStatusChanged)) == 1


def test_it_costs_no_statement_of_its_own() -> None:
    order_id = placed_order().pk
    with CaptureQueriesContext(connection) as found:
        services.confirm_order(order_id=order_id)
    recording = [query["sql"] for query in found if "INTO outbox" in query["sql"]]
    assert len(recording) == 1
    assert "order.status_changed" in recording[0]
