"""Orders that could have been answered in time and were not are alarmed and cancelled; those that could not, wait."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from structlog.testing import capture_logs

from eventbus import Observation, publish
from eventbus.testing import ArchivedEvent, Outbox, ProcessedEvent, published
from inventory.events import InventoryReserved
from orders import alarms, invariants, queries, services, tasks
from orders.events import CancelledBy, OrderCancelled
from orders.models import Order
from orders.tests.builders import created_event, dispatched, placed_order, silent_order
from tests.support.threads import at_once

DEADLINE = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def deadline(settings: Any) -> None:
    settings.ORDER_DEADLINE = DEADLINE


def later() -> datetime:
    return datetime.now(UTC) + DEADLINE + timedelta(seconds=1)


@pytest.mark.django_db
def test_an_order_past_its_deadline_is_alarmed_and_cancelled_once() -> None:
    order = silent_order()
    with capture_logs() as logs:
        assert services.cancel_overdue(now=order.created_at + DEADLINE + timedelta(seconds=1)) == 1
        assert services.cancel_overdue(now=later()) == 0
    assert [(log["event"], log["log_level"], log["age_seconds"]) for log in logs] == [("order.stuck", "error", 901)]
    order.refresh_from_db()
    assert (order.status, order.cancel_reason) == ("CANCELLED", "timed out")
    assert order.timed_out_at is not None
    [told] = published(OrderCancelled)
    assert (told.order_id, told.reason, told.cancelled_by) == (order.pk, "timed out", CancelledBy.DEADLINE)
    assert ArchivedEvent.objects.get(type="order.cancelled").correlation_id == order.correlation_id
    assert invariants.illegal_histories() == invariants.orders_without_event() == []


@pytest.mark.django_db
def test_what_is_in_time_answered_or_on_its_way_is_left_alone() -> None:
    confirmed, away = silent_order(), silent_order()
    services.confirm_order(order_id=confirmed.pk)
    with transaction.atomic():
        publish(dispatched(away.pk))
    assert services.cancel_overdue(now=later()) == 0
    silent_order()
    assert services.cancel_overdue(now=datetime.now(UTC) + DEADLINE - timedelta(seconds=10)) == 0


def handled(event_id: UUID, by: str, at: datetime) -> None:
    """The bus has published this event, and the consumer was done with it at this moment."""
    Outbox.objects.filter(event_id=event_id).delete()
    ProcessedEvent.objects.create(event_id=event_id, consumer=by, processed_at=at)


@pytest.mark.django_db
def test_an_order_whose_event_is_not_published_waits() -> None:
    order = placed_order()
    # Inventory itself is at work: it has handled what came later.
    handled(created_event(placed_order()), queries.INVENTORY, order.created_at)
    services.cancel_overdue(now=later())
    assert Order.objects.get(pk=order.pk).status == "CREATED"


@pytest.mark.django_db
def test_an_order_that_inventory_has_not_come_to_waits() -> None:
    handled(created_event(placed_order()), queries.INVENTORY, datetime.now(UTC))
    order = placed_order()
    Outbox.objects.all().delete()
    services.cancel_overdue(now=later())
    assert Order.objects.get(pk=order.pk).status == "CREATED"


@pytest.mark.django_db
def test_the_deadline_begins_when_inventory_has_come_past_the_order() -> None:
    order, next_one = placed_order(), placed_order()
    Outbox.objects.all().delete()
    # It was down for an hour, and the first of these two never comes to it.
    back = order.created_at + timedelta(hours=1)
    handled(created_event(next_one), queries.INVENTORY, back)
    assert services.cancel_overdue(now=back + DEADLINE - timedelta(seconds=1)) == 0
    services.cancel_overdue(now=back + DEADLINE + timedelta(seconds=1))
    assert Order.objects.get(pk=order.pk).status == "CANCELLED"


@pytest.mark.django_db
def test_an_order_whose_answer_is_on_its_way_waits() -> None:
    order = silent_order()
    with transaction.atomic():
        (answer,) = publish(InventoryReserved(order_id=order.pk, items=()))
    assert services.cancel_overdue(now=later()) == 0
    Outbox.objects.all().delete()
    assert services.cancel_overdue(now=later()) == 0
    # It came, and orders could do nothing with it.
    ProcessedEvent.objects.create(
        event_id=answer, consumer="orders.confirm", outcome="dead", processed_at=datetime.now(UTC)
    )
    assert services.cancel_overdue(now=later()) == 1


@pytest.mark.django_db
def test_those_that_wait_are_counted_by_an_alarm(settings: Any) -> None:
    placed_order()
    nothing = cast(Observation, None)
    assert alarms.orders_overdue(nothing) == {"": 0}
    settings.ORDER_DEADLINE = timedelta(seconds=-1)
    assert alarms.orders_overdue(nothing) == {"": 1}


@pytest.mark.django_db
def test_many_are_resolved_batch_by_batch_set_wise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "OVERDUE_BATCH", 3)
    for _ in range(7):
        silent_order()
    with CaptureQueriesContext(connection) as few:
        assert services.cancel_overdue(now=later()) == 7
    monkeypatch.setattr(services, "OVERDUE_BATCH", 30)
    for _ in range(20):
        silent_order()
    with CaptureQueriesContext(connection) as many:
        assert services.cancel_overdue(now=later()) == 20
    assert len(many) < len(few)


@pytest.mark.django_db
def test_the_task_takes_the_deadline_from_the_settings(settings: Any) -> None:
    silent_order()
    tasks.resolve_stuck()
    assert Order.objects.get().status == "CREATED"
    settings.ORDER_DEADLINE = timedelta(seconds=-1)
    tasks.resolve_stuck()
    assert Order.objects.get().status == "CANCELLED"


@pytest.mark.django_db(transaction=True)
def test_an_order_that_someone_moves_at_this_moment_is_left_to_them() -> None:
    held, free = silent_order(), silent_order()
    with transaction.atomic():
        Order.objects.select_for_update().get(pk=held.pk)
        at_once([lambda: services.cancel_overdue(now=later())])
    assert set(Order.objects.values_list("pk", "status")) == {(held.pk, "CREATED"), (free.pk, "CANCELLED")}


@pytest.mark.django_db(transaction=True)
def test_several_at_once_cancel_each_order_once() -> None:
    orders = {silent_order().pk for _ in range(40)}
    counts = at_once([lambda: services.cancel_overdue(now=later())] * 4)
    # Whoever skipped what another one held may have found nothing: the next minute's run would.
    assert sum(counts) <= 40
    services.cancel_overdue(now=later())
    told = [event.order_id for event in published(OrderCancelled) if event.order_id in orders]
    assert sorted(told) == sorted(orders)
    connections.close_all()


@pytest.mark.django_db
def test_admin_finds_them(client: Client, staff: Any, settings: Any) -> None:
    client.force_login(staff)
    timed_out = silent_order()
    services.cancel_overdue(now=later())
    other = silent_order()
    listed = reverse("admin:orders_order_changelist")
    page = reverse("admin:orders_order_change", args=[timed_out.pk])

    def found(deadline: str) -> list[Order]:
        html = client.get(listed, {"deadline": deadline}).content.decode()
        return [each for each in (timed_out, other) if str(each.pk) in html]

    assert found("missed") == [timed_out]
    assert found("overdue") == []
    settings.ORDER_DEADLINE = timedelta(seconds=-1)
    assert found("overdue") == [other]
    assert "timed out" in client.get(page).content.decode()
