"""A database that was restored does not know which mails went out: none goes out twice for it."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from eventbus import correlated_with, new_id
from eventbus.testing import Reconciliation, deliver, recorded
from notifications.consumers import deliver_mail, hold_mails, queue_confirmation
from notifications.events import NotificationQueued
from notifications.invariants import forgotten_mails
from notifications.models import Mail, State
from notifications.tests.builders import order_confirmed, order_shipped, queued_mail, times_announced
from notifications.tests.sink import Sink

pytestmark = pytest.mark.django_db


def restored() -> None:
    """All that happened up to now may have gone on and be forgotten."""
    Reconciliation.objects.create(timeline=2, first_id=new_id())
    hold_mails()


def test_what_was_on_its_way_is_held(sink: Sink) -> None:
    mail, event = queued_mail()
    restored()
    deliver(event, to=deliver_mail)
    mail.refresh_from_db()
    assert (mail.state, sink.mails) == (State.UNKNOWN, [])
    assert "restored" in mail.error


def test_what_is_made_again_is_held_and_what_begins_afterwards_is_sent(sink: Sink) -> None:
    with correlated_with("before"):
        recorded(order_shipped())
    restored()
    with correlated_with("before"):
        (again,) = recorded(order_confirmed())
    with correlated_with("after"):
        (new,) = recorded(order_confirmed())
    deliver([again, new], to=queue_confirmation)
    states = dict(Mail.objects.values_list("order_id", "state"))
    assert states == {again.order_id: State.UNKNOWN, new.order_id: State.QUEUED}


def test_the_mail_servers_log_decides(sink: Sink, tmp_path: Path) -> None:
    (gone, _), (kept, _), (old, _) = queued_mail(), queued_mail(), queued_mail()
    restored()
    yesterday = timezone.now() - timedelta(days=1)
    Mail.objects.filter(pk=old.pk).update(created_at=yesterday - timedelta(hours=1))
    log = tmp_path / "mail.log"
    log.write_text(f"postfix/cleanup[77]: 4F2: message-id={gone.message_id}\nof another: message-id=<1@else.example>\n")
    for dry in (["--dry-run"], []):
        call_command("settle_mails", str(log), f"--since={yesterday.isoformat()}", *dry)
    states = dict(Mail.objects.values_list("pk", "state"))
    assert states == {gone.pk: State.SENT, kept.pk: State.QUEUED, old.pk: State.UNKNOWN}
    deliver(NotificationQueued(mail_id=kept.pk, order_id=kept.order_id, kind=kept.kind), to=deliver_mail)
    assert [mail["Message-ID"] for mail in sink.mails] == [kept.message_id]
    assert times_announced(gone.pk) == 1


def test_a_log_names_mails_that_are_not_known() -> None:
    mail, _ = queued_mail()
    unknown = mail.message_id.replace("confirmation", "apology")
    assert forgotten_mails([mail.message_id, unknown]) == {unknown}
