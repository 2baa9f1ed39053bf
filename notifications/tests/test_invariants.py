from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import publish
from eventbus.testing import deliver, prune_this_month
from notifications.consumers import queue_confirmation
from notifications.events import NotificationSent
from notifications.invariants import doubled_or_missing_mails
from notifications.models import Mail, State
from notifications.tests.builders import order_cancelled, order_confirmed, queued_mail
from notifications.tests.sink import Sink
from orders.events import OrderConfirmed

pytestmark = pytest.mark.django_db


def violations(*ids: object) -> list[str]:
    """Those about these orders and mails: the archive may hold what other tests left in it."""
    return [line for line in doubled_or_missing_mails() if any(str(each) in line for each in ids)]


def confirmed() -> OrderConfirmed:
    """A confirmed order that the archive knows."""
    order = order_confirmed()
    with transaction.atomic():
        publish(order)
    return order


def test_an_order_whose_mail_was_sent_is_in_order(sink: Sink) -> None:
    order = confirmed()
    deliver(order, to=queue_confirmation)
    mail = Mail.objects.get()
    assert violations(order.order_id, mail.pk) == []


def test_an_order_without_a_mail_is_found() -> None:
    order = confirmed()
    assert violations(order.order_id) == [f"order.confirmed of order {order.order_id} has no mail"]


def test_a_cancelled_order_without_a_mail_is_found() -> None:
    order = order_cancelled()
    with transaction.atomic():
        publish(order)
    assert violations(order.order_id) == [f"order.cancelled of order {order.order_id} has no mail"]


def test_a_mail_that_answers_nothing_is_found() -> None:
    mail, _ = queued_mail()
    assert violations(mail.order_id) == [f"confirmation for order {mail.order_id} answers no event"]


def test_a_mail_that_was_sent_twice_is_found(sink: Sink) -> None:
    order = confirmed()
    deliver(order, to=queue_confirmation)
    mail = Mail.objects.get()
    with transaction.atomic():
        publish(*[NotificationSent(mail_id=mail.pk, order_id=order.order_id, kind=mail.kind)] * 2)
    assert violations(mail.pk) == [f"mail {mail.pk} was sent 2 times, queued 1 times"]


def test_a_mail_that_nobody_will_send_is_found() -> None:
    order = confirmed()
    mail_id = uuid4()
    Mail.objects.create(id=mail_id, order_id=order.order_id, kind="confirmation", state=State.SENDING)
    assert violations(order.order_id) == [f"confirmation for order {order.order_id} is SENDING for ever"]


def test_a_mail_whose_order_was_pruned_is_in_order(sink: Sink) -> None:
    order = confirmed()
    deliver(order, to=queue_confirmation)
    mail = Mail.objects.get(order_id=order.order_id)
    Mail.objects.filter(pk=mail.pk).update(state=State.SENT)
    prune_this_month()
    with transaction.atomic():
        publish(NotificationSent(mail_id=mail.pk, order_id=order.order_id, kind=mail.kind))
    assert violations(order.order_id, mail.pk) == []
