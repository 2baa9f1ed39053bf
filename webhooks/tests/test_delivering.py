"""From an event to a partner's server and back: a real server, a real database, and the process as a thread."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from standardwebhooks import Webhook as Verifier

from eventbus import Event, database_time
from eventbus.testing import deliver, wait_until
from webhooks import claims, services
from webhooks.calling import DEADLINE, Outcome
from webhooks.consumers import queue_deliveries
from webhooks.models import Delivery, DeliveryState, State, Webhook
from webhooks.tests.builders import a_partner, a_webhook, confirmed, many_deliveries
from webhooks.tests.conftest import running
from webhooks.tests.partner import Answer, Partner

pytestmark = pytest.mark.django_db(transaction=True)


def told(owner: User) -> Event:
    """Something that the webhook is to be told of."""
    event = confirmed(owner)
    deliver(event, to=queue_deliveries)
    return event


def tried(times: int = 1) -> Delivery:
    """The one delivery, once it was tried so often and nobody has it in hand."""

    found = Delivery.objects.filter(tries=times, claimed_by=None)
    wait_until(found.exists, 60, f"attempt {times}")
    return found.get()


def delivered(count: int = 1) -> None:
    wait_until(
        lambda: Delivery.objects.filter(state=DeliveryState.DELIVERED).count() == count, 60, f"{count} deliveries"
    )


@pytest.mark.usefixtures("delivering")
def test_an_event_is_told_signed_and_thin(owner: User, partner: Partner) -> None:
    _, secret = a_webhook(owner, partner.url)
    event = told(owner)
    delivered()
    (got,) = partner.received
    assert Verifier(secret).verify(got.body, got.headers) == json.loads(got.body)
    assert got.headers["webhook-id"] == str(event.envelope.event_id)
    assert got.headers["host"] == f"127.0.0.1:{partner.port}"
    assert json.loads(got.body) == {
        "type": event.type,
        "timestamp": event.envelope.occurred_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "eventId": str(event.envelope.event_id),
            "version": event.version,
            "aggregateType": "order",
            "aggregateId": event.aggregate_id,
            "path": f"/api/v1/orders/{event.aggregate_id}",
        },
    }
    (attempt,) = tried().attempts.all()
    assert (attempt.status, attempt.error, attempt.answer) == (200, "", "thanks")


@pytest.mark.usefixtures("delivering")
def test_what_fails_comes_again_by_the_same_id_until_it_is_taken(owner: User, partner: Partner) -> None:
    webhook, _ = a_webhook(owner, partner.url)
    partner.answer = lambda request: Answer(500, body=b"no\0" + b"x" * 5_000)
    told(owner)
    failed = tried()
    assert 0 < (failed.due_at - database_time()).total_seconds() < claims.LADDER[0] * 1.3
    partner.answer = lambda request: Answer()
    delivered()
    assert len(set(partner.ids())) == 1
    assert len({each.body for each in partner.received}) == 1
    first, second = tried(2).attempts.all()
    assert (first.status, first.error, second.status) == (500, "It answered 500.", 200)
    assert first.answer == ("no\ufffd" + "x" * 500)[:500]
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.failing_since) == (0, None)


@pytest.mark.usefixtures("delivering")
def test_an_answer_that_asks_for_a_pause_gets_it_for_everything(owner: User, partner: Partner) -> None:
    webhook, _ = a_webhook(owner, partner.url)
    partner.answer = lambda request: Answer(429, {"Retry-After": "3600"})
    told(owner)
    now, failed = database_time(), tried()
    webhook.refresh_from_db()
    for moment in (failed.due_at, webhook.not_before):
        assert moment is not None
        assert timedelta(minutes=59) < moment - now < timedelta(minutes=61)


@pytest.mark.usefixtures("delivering")
def test_an_address_that_is_gone_is_disabled_at_once(owner: User, partner: Partner) -> None:
    webhook, _ = a_webhook(owner, partner.url)
    partner.answer = lambda request: Answer(410)
    told(owner)
    tried()
    webhook.refresh_from_db()
    assert (webhook.state, webhook.disabled_because[:15]) == (State.DISABLED, "It answered 410")
    told(owner)
    assert Delivery.objects.count() == 1
    # What was missed meanwhile, and what waited, comes when somebody resumes it and asks.
    partner.answer = lambda request: Answer()
    since = database_time() - timedelta(hours=1)
    services.resume(webhook.pk)
    services.recover(webhook.pk, since=since)
    delivered(2)


def test_who_takes_nothing_for_days_is_disabled(owner: User, partner: Partner) -> None:
    webhook, _ = a_webhook(owner, partner.url)
    began = database_time() - timedelta(days=claims.GIVE_UP_DAYS)
    Webhook.objects.filter(pk=webhook.pk).update(failures=2, failing_since=began)
    partner.answer = lambda request: Answer(500)
    told(owner)
    with running():
        tried()
    webhook.refresh_from_db()
    assert webhook.state == State.DISABLED
    assert "for 5 days" in webhook.disabled_because


@pytest.mark.usefixtures("delivering")
def test_a_redirect_is_not_followed(owner: User, partner: Partner, partners: Callable[[], Partner]) -> None:
    elsewhere = partners()
    a_webhook(owner, partner.url)
    partner.answer = lambda request: Answer(307, {"Location": elsewhere.url})
    told(owner)
    assert tried().error == "It answered 307."
    assert elsewhere.received == []


def drip(out: Any) -> None:
    """A byte of a header now and then, for ever."""
    pause = threading.Event()
    out.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while not pause.wait(0.2):
        out.write(b"x")
        out.flush()


def test_an_answer_that_drips_is_cut_off(owner: User, partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.calling.DEADLINE", 1.0)
    a_webhook(owner, partner.url)
    partner.answer = lambda request: Answer(drip=drip)
    told(owner)
    with running():
        failed = tried()
    assert failed.error == "There was no answer within 1 seconds."


@pytest.mark.usefixtures("delivering")
def test_one_that_hangs_with_ten_thousand_behind_it_delays_nobody(
    owner: User, partner: Partner, partners: Callable[[], Partner]
) -> None:
    dead, alive = partners(), partner
    dead.answer = dead.hangs
    hanging, _ = a_webhook(owner, dead.url)
    many_deliveries(hanging, 10_000)
    wait_until(lambda: len(dead.received) == claims.AT_ONCE, 60, "all attempts that it may have to hang")
    living, _ = a_webhook(owner, alive.url)
    many_deliveries(living, 50)
    wait_until(lambda: len(set(alive.ids())) == 50, DEADLINE, "all of the other's, while they still hang")
    assert len(dead.received) == claims.AT_ONCE
    assert hanging.deliveries.filter(tries__gt=0).count() == claims.AT_ONCE


def test_a_partner_whose_webhooks_all_hang_leaves_room_for_others(
    owner: User, partner: Partner, partners: Callable[[], Partner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.delivering.AT_ONCE", claims.PARTNERS_AT_ONCE + 1)
    slow, alive = partners(), partner
    slow.answer = slow.hangs
    for _ in range(claims.PARTNERS_AT_ONCE // claims.AT_ONCE + 1):
        hanging, _ = a_webhook(owner, slow.url)
        many_deliveries(hanging, claims.AT_ONCE)
    living, _ = a_webhook(a_partner(), alive.url)
    with running():
        wait_until(lambda: len(slow.received) == claims.PARTNERS_AT_ONCE, 60, "all attempts that it may have to hang")
        many_deliveries(living, 20)
        wait_until(lambda: len(set(alive.ids())) == 20, DEADLINE, "all of the other's, while they still hang")
        assert len(slow.received) == claims.PARTNERS_AT_ONCE
        slow.may_go_on.set()


def test_every_partner_gets_a_first_attempt_before_anybody_gets_a_second(owner: User) -> None:
    for _ in range(5):
        many_deliveries(a_webhook(owner)[0], 10)
    other, _ = a_webhook(a_partner())
    many_deliveries(other, 10)
    claimed = claims.claim(4, failing=False)
    assert sum(each.webhook_id == other.pk for each in claimed) == 2


def test_what_is_in_hand_at_the_end_is_given_back(
    owner: User, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.delivering.GRACE", 0.1)
    a_webhook(owner, partner.url)
    partner.answer = partner.hangs
    event = told(owner)
    with running():
        wait_until(lambda: partner.received, 60, "the attempt")
    delivery = Delivery.objects.get()
    assert (delivery.tries, delivery.claimed_by) == (0, None)
    partner.answer = lambda request: Answer()
    with running():
        delivered()
    assert partner.ids() == [str(event.envelope.event_id)] * 2


def test_a_lease_that_ran_out_is_anothers_and_what_came_of_it_counts_no_more(owner: User) -> None:
    a_webhook(owner)
    told(owner)
    (first,) = claims.claim(10, failing=False)
    assert claims.claim(10, failing=False) == []
    Delivery.objects.update(due_at=database_time())
    (second,) = claims.claim(10, failing=False)
    claims.note(first, Outcome(1, 500, "It answered 500."), at=database_time())
    assert Delivery.objects.get().claimed_by == second.token
    claims.note(second, Outcome(1, 200), at=database_time())
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts.count()) == (DeliveryState.DELIVERED, 2)


def test_a_delivery_is_given_up_after_days(owner: User) -> None:
    a_webhook(owner)
    told(owner)
    refused = Outcome(1, 500, "It answered 500.")
    waited = timedelta()
    for _ in range(len(claims.LADDER) + 1):
        Webhook.objects.update(not_before=None)
        Delivery.objects.update(due_at=database_time())
        (claimed,) = claims.claim(10, failing=False) or claims.claim(10, failing=True)
        claims.note(claimed, refused, at=database_time())
        waited += max(Delivery.objects.get().due_at - database_time(), timedelta())
    assert Delivery.objects.get().state == DeliveryState.FAILED
    assert timedelta(days=2) < waited < timedelta(days=5)


def test_one_that_fails_is_tried_by_one_attempt_now_and_then(owner: User) -> None:
    webhook, _ = a_webhook(owner)
    many_deliveries(webhook, 20)
    first = claims.claim(100, failing=False)
    assert len(first) == claims.AT_ONCE
    for each in first:
        claims.note(each, Outcome(1, None, "no"), at=database_time())
    assert claims.claim(100, failing=False) == claims.claim(100, failing=True) == []
    Webhook.objects.update(not_before=None)
    assert len(claims.claim(100, failing=True)) == 1
    assert claims.claim(100, failing=True) == []
