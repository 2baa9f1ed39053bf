"""Staff send parcels off: over REST and in admin, once, and never one whose order was cancelled."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from eventbus import publish
from eventbus.testing import ArchivedEvent, deliver, prune_this_month
from orders.events import OrderShipped
from shipping import invariants
from shipping.consumers import cancel
from shipping.events import ShipmentDispatched
from shipping.models import Shipment
from shipping.tests.builders import HOW, ITEMS, SOON, WHO, order_cancelled, order_created, prepared_shipment

pytestmark = pytest.mark.django_db

BODY = {"carrier": "Fast Parcel", "trackingNumber": "FP-1", "estimatedDelivery": SOON.isoformat()}
LIST = reverse("admin:shipping_shipment_changelist")


@pytest.fixture
def clerk() -> User:
    return User.objects.create_user("clerk", is_staff=True)


@pytest.fixture
def staff(clerk: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(clerk)
    return client


def dispatch(client: APIClient, order_id: object, body: object = BODY) -> Any:
    return client.post(f"/api/v1/shipments/{order_id}/dispatch", body, format="json")


def announced(order_id: object) -> list[ArchivedEvent]:
    return list(ArchivedEvent.objects.filter(type=ShipmentDispatched.type, aggregate_id=str(order_id)))


def test_a_dispatch_is_noted_and_announced(staff: APIClient, clerk: User) -> None:
    shipment = prepared_shipment()
    answer = dispatch(staff, shipment.pk)
    assert answer.status_code == 200
    assert answer.json() | BODY | {"orderId": str(shipment.pk), "status": "DISPATCHED"} == answer.json()
    [event] = announced(shipment.pk)
    assert (event.data, event.user_id) == (BODY | {"orderId": str(shipment.pk)}, str(clerk.pk))
    shipment.refresh_from_db()
    assert (shipment.state, shipment.estimated_delivery) == ("DISPATCHED", SOON)
    assert shipment.dispatched_at is not None


def test_saying_it_again_changes_nothing_and_saying_something_else_is_a_conflict(staff: APIClient) -> None:
    shipment = prepared_shipment()
    first, again = dispatch(staff, shipment.pk), dispatch(staff, shipment.pk)
    assert (again.status_code, again.json()) == (200, first.json())
    assert dispatch(staff, shipment.pk, BODY | {"trackingNumber": "FP-2"}).status_code == 409
    assert len(announced(shipment.pk)) == 1


def test_a_moment_counts_as_its_day(staff: APIClient) -> None:
    shipment = prepared_shipment()
    answer = dispatch(staff, shipment.pk, BODY | {"estimatedDelivery": f"{SOON}T18:30:00.123456789+01:00"})
    assert answer.json()["estimatedDelivery"] == SOON.isoformat()


@pytest.mark.parametrize("days", [-2, 368, 800_000])
def test_a_day_that_has_been_or_is_years_away_is_refused(staff: APIClient, days: int) -> None:
    shipment = prepared_shipment()
    day = datetime.now(UTC).date() + timedelta(days=days)
    answer = dispatch(staff, shipment.pk, BODY | {"estimatedDelivery": day.isoformat()})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/estimatedDelivery"]
    assert announced(shipment.pk) == []


@pytest.mark.parametrize(
    ("now", "day", "status"),
    [
        # In Honolulu it is still the first.
        ("2027-03-02T09:00:00Z", "2027-03-01", 200),
        ("2027-03-02T13:00:00Z", "2027-03-01", 422),
        ("2027-03-02T13:00:00Z", "2028-03-01", 200),
    ],
)
def test_today_is_whatever_is_today_somewhere(staff: APIClient, now: str, day: str, status: int) -> None:
    shipment = prepared_shipment()
    with time_machine.travel(now, tick=False):
        assert dispatch(staff, shipment.pk, BODY | {"estimatedDelivery": day}).status_code == status


def test_saying_it_again_when_the_parcel_has_arrived_changes_nothing(staff: APIClient) -> None:
    shipment = prepared_shipment()
    first = dispatch(staff, shipment.pk)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=10), tick=False):
        assert dispatch(staff, shipment.pk).content == first.content


def test_a_cancellation_that_shipping_has_not_heard_of_is_a_conflict(staff: APIClient) -> None:
    shipment = prepared_shipment()
    with transaction.atomic():
        publish(order_cancelled(shipment.pk))
    answer = dispatch(staff, shipment.pk)
    assert answer.status_code == 409
    assert answer["content-type"] == "application/problem+json"
    assert "cancelled" in answer.json()["detail"]
    assert announced(shipment.pk) == []


def test_what_is_not_ready_is_a_conflict_and_what_is_not_there_not_found(staff: APIClient) -> None:
    shipment = prepared_shipment()
    deliver(order_cancelled(shipment.pk), to=cancel)
    assert dispatch(staff, shipment.pk).status_code == 409
    assert dispatch(staff, uuid4()).status_code == 404


def test_a_channel_may_not_dispatch() -> None:
    shipment = prepared_shipment()
    channel = APIClient()
    assert dispatch(channel, shipment.pk).status_code == 401
    channel.force_authenticate(User.objects.create_user("channel"))
    assert dispatch(channel, shipment.pk).status_code == 403
    assert announced(shipment.pk) == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"carrier": None}, "/carrier"),
        ({"carrier": ""}, "/carrier"),
        ({"carrier": "  "}, "/carrier"),
        ({"carrier": "x" * 101}, "/carrier"),
        ({"carrier": "two\nlines"}, "/carrier"),
        ({"trackingNumber": 17}, "/trackingNumber"),
        ({"estimatedDelivery": "soon"}, "/estimatedDelivery"),
        ({"estimatedDelivery": "2026-02-30"}, "/estimatedDelivery"),
        ({"estimatedDelivery": f"{SOON}Tgarbage"}, "/estimatedDelivery"),
        ({"estimatedDelivery": f"{SOON}T25:00:00Z"}, "/estimatedDelivery"),
        ({"estimatedDelivery": f"{SOON} "}, "/estimatedDelivery"),
        ({"estimatedDelivery": 1_800_000_000}, "/estimatedDelivery"),
        ({"status": "PREPARED"}, "/status"),
    ],
)
def test_a_wrong_body_is_pointed_at_and_nothing_leaves(staff: APIClient, change: dict[str, Any], pointer: str) -> None:
    shipment = prepared_shipment()
    answer = dispatch(staff, shipment.pk, BODY | change)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert announced(shipment.pk) == []


class TestAdmin:
    @pytest.fixture
    def client(self, clerk: User) -> Client:
        names = ["view_shipment", "dispatch_shipment"]
        clerk.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(clerk)
        return client

    def act(self, client: Client, *shipments: Shipment, **said: str) -> Any:
        chosen = {"action": "dispatch_selected", "_selected_action": [str(each.pk) for each in shipments]}
        return client.post(LIST, chosen | said, follow=True)

    def how(self, *shipments: Shipment) -> dict[str, str]:
        numbers = {f"tracking_{each.pk}": f"FP-{place}" for place, each in enumerate(shipments)}
        return {"confirmed": "yes", "carrier": "Fast Parcel", "estimated_delivery": SOON.isoformat(), **numbers}

    def test_the_action_asks_how_first(self, client: Client) -> None:
        shipment = prepared_shipment()
        html = self.act(client, shipment).content.decode()
        assert f'name="tracking_{shipment.pk}"' in html
        assert announced(shipment.pk) == []

    def test_each_selected_parcel_goes_with_its_own_number(self, client: Client, clerk: User) -> None:
        parcels = sorted([prepared_shipment(), prepared_shipment()], key=lambda each: each.pk)
        html = self.act(client, *parcels, **self.how(*parcels)).content.decode()
        assert "Dispatched: 2 of 2" in html
        assert [announced(each.pk)[0].data["trackingNumber"] for each in parcels] == ["FP-0", "FP-1"]
        assert {announced(each.pk)[0].user_id for each in parcels} == {str(clerk.pk)}

    def test_what_is_said_counts_what_the_page_showed_though_its_filter_finds_them_no_more(
        self, client: Client
    ) -> None:
        shipment = prepared_shipment()
        chosen = {"action": "dispatch_selected", "_selected_action": [str(shipment.pk)]}
        answer = client.post(f"{LIST}?state__exact=PREPARED", chosen | self.how(shipment), follow=True)
        assert "Dispatched: 1 of 1 selected" in answer.content.decode()

    def test_one_number_for_two_parcels_is_a_typing_error(self, client: Client) -> None:
        parcels = [prepared_shipment(), prepared_shipment()]
        said = self.how(*parcels) | {f"tracking_{each.pk}": "FP-1" for each in parcels}
        assert "Another parcel on this page has this number" in self.act(client, *parcels, **said).content.decode()
        assert [announced(each.pk) for each in parcels] == [[], []]

    def test_one_that_was_cancelled_meanwhile_stays_and_the_others_go(self, client: Client) -> None:
        parcels = [prepared_shipment(), prepared_shipment()]
        with transaction.atomic():
            publish(order_cancelled(parcels[0].pk))
        html = self.act(client, *parcels, **self.how(*parcels)).content.decode()
        assert f"Not dispatched: {parcels[0].pk}" in html
        assert "Dispatched: 1 of 2" in html
        assert announced(parcels[0].pk) == []

    def test_a_missing_number_is_asked_for_again(self, client: Client) -> None:
        shipment = prepared_shipment()
        said = self.how(shipment) | {f"tracking_{shipment.pk}": ""}
        assert "Please correct" in self.act(client, shipment, **said).content.decode()
        assert announced(shipment.pk) == []

    def test_a_day_that_has_been_is_refused_in_words(self, client: Client) -> None:
        shipment = prepared_shipment()
        html = self.act(client, shipment, **self.how(shipment) | {"estimated_delivery": "2026-01-01"}).content.decode()
        assert "2026-01-01 has been" in html
        assert announced(shipment.pk) == []

    def test_it_takes_a_permission(self, client: Client, clerk: User) -> None:
        clerk.user_permissions.remove(Permission.objects.get(codename="dispatch_shipment"))
        shipment = prepared_shipment()
        self.act(client, shipment, **self.how(shipment))
        assert announced(shipment.pk) == []

    def test_a_parcel_is_found_by_order_and_tracking_number_and_shows_where_it_goes(self, client: Client) -> None:
        shipment, other = prepared_shipment(), prepared_shipment()
        Shipment.objects.filter(pk=shipment.pk).update(tracking_number="FP-77")
        for query in (str(shipment.pk), "FP-77"):
            html = client.get(LIST, {"q": query}).content.decode()
            assert (str(shipment.pk) in html, str(other.pk) in html) == (True, False)
        html = client.get(reverse("admin:shipping_shipment_change", args=[shipment.pk])).content.decode()
        assert "1 Main St" in html
        assert "2 of cup" in html


class TestInvariants:
    def test_a_called_off_order_whose_parcel_is_ready_is_found(self) -> None:
        shipment = prepared_shipment()
        with transaction.atomic():
            publish(order_cancelled(shipment.pk))
        assert invariants.shipments_that_disagree() == [
            f"shipment of order {shipment.pk} is PREPARED after order.cancelled"
        ]
        deliver(order_cancelled(shipment.pk), to=cancel)
        assert invariants.shipments_that_disagree() == []

    def test_a_parcel_that_left_while_its_order_did_not_is_found(self, staff: APIClient) -> None:
        shipment = prepared_shipment()
        dispatch(staff, shipment.pk)
        assert invariants.shipments_that_disagree() == [
            f"shipment of order {shipment.pk} left, and the order isn't shipped"
        ]
        told = order_created(shipment.pk).model_dump(include={"order_id", "total_amount", "currency"})
        with transaction.atomic():
            publish(OrderShipped(**told, **WHO, items=ITEMS, **HOW))
        assert invariants.shipments_that_disagree() == []

    def test_a_parcel_whose_order_was_pruned_is_in_order(self, staff: APIClient) -> None:
        shipment = prepared_shipment()
        dispatch(staff, shipment.pk)
        with transaction.atomic():
            publish(order_created(shipment.pk))
        assert len(invariants.shipments_that_disagree()) == 1
        prune_this_month()
        assert invariants.shipments_that_disagree() == []
