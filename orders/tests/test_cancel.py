"""Calling an order off, by a channel: a definite answer, once, and only while it is in the house."""

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import publish
from eventbus.testing import ArchivedEvent, deliver, published
from inventory.events import InventoryReservationFailed, InventoryReserved
from orders import invariants, services
from orders.consumers import confirm, reject, ship
from orders.events import CancelledBy, OrderCancelled, OrderConfirmed, OrderRejected, OrderShipped
from orders.models import Order
from orders.tests.builders import PATH, Api, a_channel, dispatched, exact, placed_order, pointers

pytestmark = pytest.mark.django_db


def cancel(api: Api, order_id: object, body: Any = b"", **headers: str) -> Any:
    return api.post(body, path=f"{PATH}/{order_id}/cancel", **headers)


def shipped(order_id: UUID) -> None:
    deliver(dispatched(order_id), to=ship)


def on_its_way(order_id: UUID) -> None:
    """Dispatched, and orders has not heard of it yet."""
    with transaction.atomic():
        publish(dispatched(order_id))


def rejected(order_id: UUID) -> None:
    services.reject_order(order_id=order_id, reason="insufficient_stock")


def confirmed(order_id: UUID) -> None:
    services.confirm_order(order_id=order_id)


@pytest.mark.parametrize("before", [lambda order_id: None, confirmed])
def test_an_order_is_cancelled_and_answered_as_it_is_then(api: Api, before: Callable[[UUID], None]) -> None:
    order_id = api.place()
    before(order_id)
    answer = cancel(api, order_id, {"reason": "changed their mind"}, x_correlation_id="cancel-1")
    assert answer.status_code == 200
    assert answer.json()["status"] == "CANCELLED"
    assert exact(answer) == exact(api.get(f"{PATH}/{order_id}"))
    [event] = published(OrderCancelled)
    assert (event.order_id, event.reason, event.cancelled_by) == (order_id, "changed their mind", CancelledBy.CUSTOMER)
    assert [(item.product_id, item.quantity) for item in event.items] == [("vase", 2), ("jug", 1)]
    stored = ArchivedEvent.objects.get(type="order.cancelled")
    assert (stored.correlation_id, stored.user_id, stored.causation_id) == ("cancel-1", str(api.user.pk), None)
    assert Order.objects.get().cancel_reason == "changed their mind"
    assert invariants.illegal_histories() == invariants.orders_without_event() == []


@pytest.mark.parametrize("body", [b"", {}])
def test_a_reason_is_optional(api: Api, body: Any) -> None:
    assert cancel(api, api.place(), body).status_code == 200
    assert [event.reason for event in published(OrderCancelled)] == ["requested"]


def test_no_body_needs_no_content_type(api: Api) -> None:
    answer = api.client.generic("POST", f"{PATH}/{api.place()}/cancel", content_type="", headers=api.headers)
    assert answer.status_code == 200


def test_a_repeat_gets_the_same_answer_and_changes_nothing(api: Api) -> None:
    order_id = api.place()
    first = cancel(api, order_id, {"reason": "first"}, idempotency_key="k")
    again = cancel(api, order_id, {"reason": "first"}, idempotency_key="k")
    assert (again.status_code, again.content, again["Idempotent-Replayed"]) == (200, first.content, "true")
    assert cancel(api, order_id, {"reason": "second"}, idempotency_key="k").status_code == 422
    # Without a key as well: it is cancelled already.
    assert cancel(api, order_id, {"reason": "second"}).content == first.content
    assert [event.reason for event in published(OrderCancelled)] == ["first"]


@pytest.mark.parametrize(("before", "said"), [(rejected, "REJECTED"), (shipped, "SHIPPED"), (on_its_way, "dispatched")])
def test_what_is_past_cancelling_is_a_conflict(api: Api, before: Callable[[UUID], None], said: str) -> None:
    order_id = api.place()
    before(order_id)
    status = Order.objects.get().status
    answer = cancel(api, order_id)
    assert answer.status_code == 409
    assert answer["Content-Type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert Order.objects.get().status == status
    assert published(OrderCancelled) == []


def test_another_channels_order_is_not_found(api: Api) -> None:
    order_id = api.place()
    assert cancel(Api(a_channel()), order_id).status_code == 404
    assert cancel(api, uuid4()).status_code == 404
    assert Order.objects.get().status == "CREATED"


def test_staff_may_cancel_any_order(api: Api, staff: Any) -> None:
    assert cancel(Api(staff), api.place()).json()["status"] == "CANCELLED"
    assert [event.cancelled_by for event in published(OrderCancelled)] == [CancelledBy.STAFF]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"reason": ""}, {"/reason": "string_too_short"}),
        ({"reason": "two\nlines"}, {"/reason": "control_character"}),
        ({"reason": "x" * 201}, {"/reason": "string_too_long"}),
        ({"reason": None}, {"/reason": "string_type"}),
        ({"why": "x"}, {"/why": "extra_forbidden"}),
        ([], {"": "model_type"}),
    ],
)
def test_a_wrong_body_is_pointed_at_and_cancels_nothing(api: Api, body: Any, wrong: dict[str, str]) -> None:
    answer = cancel(api, api.place(), body)
    assert (answer.status_code, pointers(answer)) == (422, wrong)
    assert Order.objects.get().status == "CREATED"


def test_what_is_no_json_or_no_key_is_a_bad_request(api: Api) -> None:
    order_id = api.place()
    assert cancel(api, order_id, b"{").status_code == 400
    assert cancel(api, order_id, idempotency_key="x" * 256).status_code == 400
    assert api.post(b"reason=x", path=f"{PATH}/{order_id}/cancel", content_type="text/plain").status_code == 415
    assert api.get(f"{PATH}/{order_id}/cancel").status_code == 405


class TestLateAnswers:
    @pytest.fixture
    def order(self) -> Order:
        order = placed_order()
        services.cancel_order(order_id=order.pk, reason="requested")
        return order

    def test_a_reservation_does_not_confirm_a_cancelled_order(self, order: Order) -> None:
        deliver(InventoryReserved(order_id=order.pk, items=()), to=confirm)
        assert published(OrderConfirmed) == []
        assert Order.objects.get().status == "CANCELLED"

    def test_a_refusal_does_not_reject_a_cancelled_order(self, order: Order) -> None:
        event = InventoryReservationFailed(order_id=order.pk, reason="insufficient_stock", shortages=())
        deliver(event, to=reject)
        assert published(OrderRejected) == []
        assert Order.objects.get().status == "CANCELLED"

    def test_a_dispatch_that_nobody_allowed_cannot_heal(self, order: Order) -> None:
        with pytest.raises(services.CannotMove, match="CANCELLED"):
            deliver(dispatched(order.pk), to=ship)
        assert Order.objects.get().status == "CANCELLED"


class TestShipping:
    def test_a_dispatch_ships_its_order_once_and_tells_how_it_travels(self) -> None:
        order = placed_order()
        confirmed(order.pk)
        event = dispatched(order.pk)
        assert [deliver(event, to=ship), deliver(event, to=ship)] == [1, 0]
        deliver(dispatched(order.pk), to=ship)
        [told] = published(OrderShipped)
        assert (told.carrier, told.tracking_number, told.estimated_delivery) == (
            "Fast Parcel",
            "FP-1",
            date(2026, 12, 1),
        )
        assert told.customer_email == "ada@shop.example"
        assert Order.objects.get().status == "SHIPPED"
        assert ArchivedEvent.objects.get(type="order.shipped").causation_id == event.envelope.event_id

    def test_a_dispatch_that_overtakes_the_reservation_confirms_first(self) -> None:
        order = placed_order()
        deliver(dispatched(order.pk), to=ship)
        deliver(InventoryReserved(order_id=order.pk, items=()), to=confirm)
        told = (
            ArchivedEvent.objects.filter(aggregate_id=str(order.pk)).order_by("sequence").values_list("type", flat=True)
        )
        changed = "order.status_changed"
        assert list(told) == ["order.created", "order.confirmed", changed, "order.shipped", changed]
        assert invariants.illegal_histories() == invariants.orders_without_event() == []

    def test_a_dispatch_of_a_rejected_order_cannot_heal(self) -> None:
        order = placed_order()
        rejected(order.pk)
        with pytest.raises(services.CannotMove, match="REJECTED"):
            deliver(dispatched(order.pk), to=ship)
