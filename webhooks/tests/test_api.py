"""What one partner may do with its webhooks, and another may not. That all endpoints answer alike is tested elsewhere:
tests/test_every_endpoint.py."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection

from api.tests.callers import Caller, pointers, problem
from eventbus import Event, InvalidEvent, database_time
from eventbus.archive import events_between, first_id_at
from eventbus.testing import deliver
from inventory.events import StockLow
from orders.events import OrderConfirmed, OrderCreated
from webhooks import claims, retention, secrets, services
from webhooks.calling import Outcome
from webhooks.consumers import queue_deliveries
from webhooks.models import Delivery, DeliveryState, State, Webhook
from webhooks.tests.builders import a_partner, a_webhook, confirmed, low_stock

pytestmark = pytest.mark.django_db

HOOKS = "/api/v1/webhooks"
WISH = {"url": "https://partner.example/hook", "eventTypes": [OrderConfirmed.type]}


@pytest.fixture
def caller(owner: User) -> Caller:
    return Caller(owner)


def told_of(webhook: Webhook) -> set[str]:
    return set(webhook.deliveries.values_list("aggregate_id", flat=True))


def test_a_secret_is_told_once_and_stands_nowhere_in_the_database(caller: Caller) -> None:
    first = caller.post(HOOKS, WISH, Idempotency_Key="k")
    secret, webhook_id = first.json()["secret"], first.json()["webhookId"]
    assert secret.startswith("whsec_")
    assert first["Location"].endswith(f"{HOOKS}/{webhook_id}")
    assert "secret" not in caller.get(f"{HOOKS}/{webhook_id}").json()
    assert "secret" not in caller.get(HOOKS).json()["results"][0]
    # Who did not get the answer asks again, by the same key.
    assert caller.post(HOOKS, WISH, Idempotency_Key="k").content == first.content
    with connection.cursor() as cursor:
        cursor.execute("SELECT response FROM api_idempotencykey")
        assert secret not in str(cursor.fetchall())
    assert secret.encode() not in bytes(Webhook.objects.get().secret)
    assert secrets.unseal(Webhook.objects.get().secret) == secret


def test_of_orders_a_partner_is_told_its_own_alone_and_staff_everybodys(owner: User) -> None:
    mine, _ = a_webhook(owner)
    others, _ = a_webhook(a_partner())
    staffs, _ = a_webhook(a_partner(is_staff=True))
    order, product = confirmed(owner), low_stock()
    deliver([order, product], to=queue_deliveries)
    assert told_of(mine) == told_of(staffs) == {order.aggregate_id, product.aggregate_id}
    assert told_of(others) == {product.aggregate_id}


def test_a_redelivered_event_is_queued_once_and_a_filter_lets_pass_what_it_names(owner: User) -> None:
    plain, _ = a_webhook(owner)
    euros, _ = a_webhook(owner, event_types=[OrderConfirmed.type], filters={"currency": ["EUR", "CHF"]})
    events = [confirmed(owner), confirmed(owner, currency="USD")]
    deliver(events, to=queue_deliveries)
    services.queue_deliveries(events)
    assert told_of(plain) == {event.aggregate_id for event in events}
    assert told_of(euros) == {events[0].aggregate_id}
    assert Delivery.objects.count() == 3


@pytest.mark.parametrize("state", [State.PAUSED, State.DISABLED, State.DELETED])
def test_nothing_is_told_where_nobody_wants_to_hear_it(owner: User, caller: Caller, state: State) -> None:
    webhook, _ = a_webhook(owner)
    deliver(confirmed(owner), to=queue_deliveries)
    Webhook.objects.update(state=state)
    deliver(confirmed(owner), to=queue_deliveries)
    assert webhook.deliveries.count() == 1
    assert claims.claim(10, failing=False) == []
    if state != State.DELETED:
        answer = caller.post(f"{HOOKS}/{webhook.pk}/ping")
        problem(answer, 409)
        assert answer.json()["type"].endswith(":webhook-not-active")


def test_a_partner_that_was_shut_out_is_told_nothing(owner: User) -> None:
    webhook, _ = a_webhook(owner)
    deliver(low_stock(), to=queue_deliveries)
    User.objects.update(is_active=False)
    deliver(low_stock(), to=queue_deliveries)
    assert webhook.deliveries.count() == 1
    assert claims.claim(10, failing=False) == []


def test_of_a_partner_that_was_shut_out_nothing_is_sent_or_looked_for_until_it_may_come_in_again(owner: User) -> None:
    webhook, _ = a_webhook(owner)
    delivery = services.ping(webhook.pk)
    services.recover(webhook.pk, since=database_time() - timedelta(hours=1))
    User.objects.update(is_active=False)
    assert not services.recover_step()
    delivery = Delivery.objects.get(pk=delivery.pk)
    for send in (partial(services.ping, webhook.pk), partial(services.resend, delivery)):
        with pytest.raises(services.NotActive, match="account is deactivated"):
            send()
    User.objects.update(is_active=True)
    assert services.recover_step()
    assert [each.delivery_id for each in claims.claim(10, failing=False)] == [delivery.pk]


def test_nobody_else_finds_it(owner: User) -> None:
    webhook, _ = a_webhook(owner)
    delivery = services.ping(webhook.pk)
    stranger, one = Caller(a_partner(is_staff=True)), f"{HOOKS}/{webhook.pk}"
    for path in (one, f"{one}/deliveries", f"{one}/deliveries/{delivery.pk}"):
        problem(stranger.get(path), 404)
    for path in (f"{one}/ping", f"{one}/rotate-secret", f"{one}/deliveries/{delivery.pk}/resend"):
        problem(stranger.post(path), 404)
    problem(stranger.post(f"{one}/recover", {"since": "2026-01-01T00:00:00Z"}), 404)
    problem(stranger.patch(one, {"active": False}), 404)
    problem(stranger.delete(one), 404)
    assert stranger.get(HOOKS).json()["results"] == []
    # A delivery is found at its own webhook alone.
    other, _ = a_webhook(owner)
    problem(Caller(owner).get(f"{HOOKS}/{other.pk}/deliveries/{delivery.pk}"), 404)


def test_a_change_changes_what_it_names(owner: User, caller: Caller) -> None:
    webhook, _ = a_webhook(owner)
    one = f"{HOOKS}/{webhook.pk}"
    changed = caller.patch(one, {"eventTypes": [OrderCreated.type], "filters": {"currency": ["EUR"]}}).json()
    assert (changed["eventTypes"], changed["url"]) == ([OrderCreated.type], webhook.url)
    answer = caller.patch(one, {"eventTypes": ["inventory.stock.low"]})
    problem(answer, 422)
    assert pointers(answer) == {"/filters": "unknown_field"}
    assert caller.patch(one, {"active": False}).json()["state"] == State.PAUSED
    Webhook.objects.update(state=State.DISABLED, failures=9, disabled_because="It answered 410.")
    resumed = caller.patch(one, {"active": True}).json()
    assert (resumed["state"], resumed["disabledBecause"], resumed["failingSince"]) == (State.ACTIVE, None, None)


def test_one_whose_address_is_forbidden_by_now_can_still_be_paused(owner: User, caller: Caller, settings: Any) -> None:
    webhook, _ = a_webhook(owner, "http://127.0.0.1:9000/")
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    one = f"{HOOKS}/{webhook.pk}"
    assert caller.patch(one, {"active": False}).json()["state"] == State.PAUSED
    problem(caller.patch(one, {"description": "mine"}), 422)


def test_what_is_staffs_alone_is_not_found_out_by_a_filter(caller: Caller) -> None:
    wish = WISH | {"eventTypes": ["inventory.stock.corrected"]}
    assert caller.post(HOOKS, wish | {"filters": {"counted": [0]}}).status_code == 201
    answer = caller.post(HOOKS, wish | {"filters": {"reason": ["stolen"]}})
    problem(answer, 422)
    assert pointers(answer) == {"/filters": "unknown_field"}


def test_a_rotation_that_comes_after_the_end_finds_nothing(
    owner: User, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, _ = a_webhook(owner)
    rotate = services.rotate_secret

    def late(webhook_id: UUID) -> str:
        services.delete_webhook(webhook_id)
        return rotate(webhook_id)

    monkeypatch.setattr(services, "rotate_secret", late)
    problem(caller.post(f"{HOOKS}/{webhook.pk}/rotate-secret"), 404)


def test_a_deleted_one_is_gone_and_leaves_nothing(owner: User, caller: Caller) -> None:
    webhook, _ = a_webhook(owner)
    services.ping(webhook.pk)
    assert caller.delete(f"{HOOKS}/{webhook.pk}").json()["state"] == State.DELETED
    problem(caller.get(f"{HOOKS}/{webhook.pk}"), 404)
    assert retention.forget_old_deliveries() == 1
    assert Webhook.objects.count() == Delivery.objects.count() == 0


def test_lists_are_read_page_by_page(owner: User, caller: Caller) -> None:
    webhook, _ = a_webhook(owner)
    made = [str(services.ping(webhook.pk).pk) for _ in range(5)]
    seen, link = [], f"{HOOKS}/{webhook.pk}/deliveries?limit=2&state=WAITING"
    while link:
        answer = caller.get(link).json()
        seen += [each["deliveryId"] for each in answer["results"]]
        link = answer["next"]
    assert seen == made[::-1]


def test_there_is_an_end_to_webhooks(owner: User, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_WEBHOOKS", 1)
    assert caller.post(HOOKS, WISH).status_code == 201
    problem(caller.post(HOOKS, WISH), 409)


def test_a_second_rotation_ends_the_oldest(owner: User, caller: Caller) -> None:
    webhook, first = a_webhook(owner)
    services.ping(webhook.pk)
    second, third = (caller.post(f"{HOOKS}/{webhook.pk}/rotate-secret").json()["secret"] for _ in range(2))
    assert len({first, second, third}) == 3
    (claim,) = claims.claim(1, failing=False)
    assert [secrets.unseal(each) for each in claim.secrets] == [third, second]


def test_a_recovery_brings_what_was_given_up_and_what_was_never_queued(
    owner: User, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STEP", 2)
    webhook, _ = a_webhook(owner)
    taken, given_up = confirmed(owner), confirmed(owner)
    deliver([taken, given_up], to=queue_deliveries)
    Delivery.objects.filter(event_id=taken.envelope.event_id).update(state=DeliveryState.DELIVERED)
    Delivery.objects.filter(event_id=given_up.envelope.event_id).update(state=DeliveryState.FAILED, tries=10)
    services.pause(webhook.pk)
    missed = [confirmed(owner) for _ in range(4)]
    confirmed(a_partner())
    deliver(missed, to=queue_deliveries)
    services.resume(webhook.pk)
    since = (database_time() - timedelta(days=400)).isoformat()
    assert caller.post(f"{HOOKS}/{webhook.pk}/recover", {"since": since}).json()["recovering"]
    while services.recover_step():
        pass
    waiting = set(Delivery.objects.filter(state=DeliveryState.WAITING, tries=0).values_list("event_id", flat=True))
    assert waiting == {event.envelope.event_id for event in (given_up, *missed)}
    assert not caller.get(f"{HOOKS}/{webhook.pk}").json()["recovering"]


def _read(contracts: list[type[Event]], *args: Any, unreadable: type[Event], **kwargs: Any) -> tuple[list[Event], UUID]:
    """What is in the archive, as if nobody could read events of this contract any more."""
    if unreadable in contracts:
        reason: Any = "invalid_data"
        raise InvalidEvent(reason, "no such field")
    return events_between(contracts, *args, **kwargs)


@pytest.mark.parametrize("readable", [True, False])
def test_a_recovery_that_can_not_be_carried_out_holds_up_no_other(
    owner: User, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    since = database_time() - timedelta(hours=1)
    bad, _ = a_webhook(owner, event_types=[StockLow.type])
    if readable:
        # A release has taken it off what is offered.
        Webhook.objects.filter(pk=bad.pk).update(event_types=["order.lost"])
    else:
        monkeypatch.setattr("webhooks.services.events_between", partial(_read, unreadable=StockLow))
    services.recover(bad.pk, since=since)
    Webhook.objects.filter(pk=bad.pk).update(recovering_until=UUID(int=2**128 - 1))
    order = confirmed(owner)
    other, _ = a_webhook(owner, event_types=[OrderConfirmed.type])
    services.recover(other.pk, since=since)
    Webhook.objects.filter(pk=other.pk).update(recovering_until=UUID(int=2**128 - 1))
    while services.recover_step():
        pass
    assert order.aggregate_id in told_of(other)
    assert told_of(bad) == set()


def test_one_delivery_is_sent_again(owner: User, caller: Caller) -> None:
    webhook, _ = a_webhook(owner)
    delivery = services.ping(webhook.pk)
    (claim,) = claims.claim(1, failing=False)
    claims.note(claim, Outcome(7, 200, answer="fine"), at=database_time())
    one = f"{HOOKS}/{webhook.pk}/deliveries/{delivery.pk}"
    (attempt,) = caller.get(one).json()["attempts"]
    assert (attempt["status"], attempt["milliseconds"], attempt["answer"]) == (200, 7, "fine")
    assert caller.post(f"{one}/resend").json()["state"] == DeliveryState.WAITING
    (again,) = claims.claim(1, failing=False)
    assert again.told == claim.told


def test_old_deliveries_go_and_young_ones_stay(owner: User) -> None:
    webhook, _ = a_webhook(owner)
    kept = services.ping(webhook.pk)
    old = services.ping(webhook.pk)
    long_ago = first_id_at(database_time() - services.KEPT - timedelta(minutes=1))
    Delivery.objects.filter(pk=old.pk).update(id=long_ago)
    assert retention.forget_old_deliveries() == 1
    assert [each.pk for each in Delivery.objects.all()] == [kept.pk]
