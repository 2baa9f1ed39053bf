"""Orders that nothing answers in time are alarmed and cancelled."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from structlog.testing import capture_logs

from eventbus import publish
from eventbus.testing import ArchivedEvent, published
from orders import invariants, services, tasks
from orders.events import CancelledBy, OrderCancelled
from orders.models import Order
from orders.tests.builders import dispatched, placed_order
from tests.support.threads import at_once

DEADLINE = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def deadline(settings: Any) -> None:
    settings.ORDER_DEADLINE = DEADLINE


def later() -> datetime:
    return datetime.now(UTC) + DEADLINE + timedelta(seconds=1)


@pytest.mark.django_db
def test_an_order_past_its_deadline_is_alarmed_and_cancelled_once() -> None:
    order = placed_order()
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
    confirmed, away = placed_order(), placed_order()
    services.confirm_order(order_id=confirmed.pk)
    with transaction.atomic():
        publish(dispatched(away.pk))
    assert services.cancel_overdue(now=later()) == 0
    placed_order()
    assert services.cancel_overdue(now=datetime.now(UTC) + DEADLINE - timedelta(seconds=10)) == 0


@pytest.mark.django_db
def test_many_are_resolved_batch_by_batch_set_wise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "OVERDUE_BATCH", 3)
    for _ in range(7):
        placed_order()
    with CaptureQueriesContext(connection) as few:
        assert services.cancel_overdue(now=later()) == 7
    monkeypatch.setattr(services, "OVERDUE_BATCH", 30)
    for _ in range(20):
        placed_order()
    with CaptureQueriesContext(connection) as many:
        assert services.cancel_overdue(now=later()) == 20
    assert len(many) < len(few)


@pytest.mark.django_db
def test_the_task_takes_the_deadline_from_the_settings(settings: Any) -> None:
    placed_order()
    tasks.resolve_stuck()
    assert Order.objects.get().status == "CREATED"
    settings.ORDER_DEADLINE = timedelta(seconds=-1)
    tasks.resolve_stuck()
    assert Order.objects.get().status == "CANCELLED"


@pytest.mark.django_db(transaction=True)
def test_an_order_that_someone_moves_at_this_moment_is_left_to_them() -> None:
    held, free = placed_order(), placed_order()
    with transaction.atomic():
        Order.objects.select_for_update().get(pk=held.pk)
        at_once([lambda: services.cancel_overdue(now=later())])
    assert set(Order.objects.values_list("pk", "status")) == {(held.pk, "CREATED"), (free.pk, "CANCELLED")}


@pytest.mark.django_db(transaction=True)
def test_several_at_once_cancel_each_order_once() -> None:
    orders = {placed_order().pk for _ in range(40)}
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
    timed_out = placed_order()
    services.cancel_overdue(now=later())
    other = placed_order()
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
