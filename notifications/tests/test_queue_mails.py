"""From a decided order to a mail that waits."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventbus import Event
from eventbus.testing import ArchivedEvent, ProcessedEvent, deliver
from notifications.consumers import queue_apology, queue_cancellation, queue_confirmation, queue_tracking
from notifications.models import Mail, State
from notifications.tests.builders import order_cancelled, order_confirmed, order_rejected, order_shipped

pytestmark = pytest.mark.django_db


def queued_because_of(event: Event) -> list[ArchivedEvent]:
    return list(ArchivedEvent.objects.filter(type="notification.queued", causation_id=event.envelope.event_id))


def test_a_redelivered_order_is_confirmed_once() -> None:
    order = order_confirmed()
    deliver(order, to=queue_confirmation)
    deliver(order, to=queue_confirmation)
    mail = Mail.objects.get()
    assert (mail.order_id, mail.kind, mail.to, mail.state) == (
        order.order_id,
        "confirmation",
        "ada@customer.example",
        State.QUEUED,
    )
    assert [event.aggregate_id for event in queued_because_of(order)] == [str(mail.pk)]


def test_a_rejected_order_gets_an_apology() -> None:
    deliver(order_rejected(), to=queue_apology)
    assert Mail.objects.get().kind == "apology"


def test_a_shipped_order_gets_a_tracking_mail_beside_its_confirmation() -> None:
    confirmed = order_confirmed()
    shipped = order_shipped(order_id=confirmed.order_id)
    deliver(confirmed, to=queue_confirmation)
    deliver(shipped, to=queue_tracking)
    deliver(shipped, to=queue_tracking)
    assert sorted(Mail.objects.values_list("kind", flat=True)) == ["confirmation", "tracking"]


def test_a_cancelled_order_gets_one_cancellation_beside_its_confirmation() -> None:
    confirmed = order_confirmed()
    cancelled = order_cancelled(order_id=confirmed.order_id)
    deliver(confirmed, to=queue_confirmation)
    deliver(cancelled, to=queue_cancellation)
    deliver(cancelled, to=queue_cancellation)
    assert sorted(Mail.objects.values_list("kind", flat=True)) == ["cancellation", "confirmation"]
    assert [event.data["kind"] for event in queued_because_of(cancelled)] == ["cancellation"]


def test_an_order_that_comes_again_after_the_inbox_forgot_it_gets_no_second_mail() -> None:
    order = order_confirmed()
    deliver(order, to=queue_confirmation)
    ProcessedEvent.objects.filter(consumer=queue_confirmation.name).delete()
    assert deliver(order, to=queue_confirmation) == 1
    assert len(queued_because_of(order)) == 1


def test_a_batch_takes_as_many_statements_as_a_pair() -> None:
    def statements(count: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            deliver([order_confirmed() for _ in range(count)], to=queue_confirmation)
        return len(captured)

    assert statements(40) == statements(2)
    assert Mail.objects.count() == 42


def test_the_event_says_who_is_written_to_by_id_alone() -> None:
    order = order_confirmed()
    deliver(order, to=queue_confirmation)
    (event,) = queued_because_of(order)
    assert set(event.data) == {"mailId", "orderId", "kind"}
