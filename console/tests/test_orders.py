"""Orders as the staff sees and moves them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from console.tests.builders import answered_order, signed_in, work_off
from console.views.orders import harmless
from console.words import TIMES
from eventbus import database_time
from eventbus.testing import ArchivedEvent, published
from notifications.models import Mail
from orders.events import OrderCancelled, OrderCreated
from orders.models import Order
from orders.tests.builders import an_item, placed_order
from shipping.models import Shipment

pytestmark = pytest.mark.usefixtures("shop")


def page_of(order: Order) -> str:
    return reverse("console:order", args=[order.pk])


def in_some_days() -> str:
    return f"{database_time() + timedelta(days=3):%Y-%m-%d}"


def test_an_order_is_told_in_plain_words() -> None:
    order = answered_order()
    html = signed_in("clerk").get(page_of(order)).content.decode()
    for words in (
        f"Order placed: 2 {TIMES} Vase, 1 {TIMES} Jug",
        "Stock set aside",
        "Order confirmed",
        "Mail written: confirmation",
        "The confirmation mail waits to be sent",
        "The parcel is ready and not dispatched yet",
        "45.30 USD",
        "ada@shop.example",
    ):
        assert words in html


def test_an_orders_total_is_explained() -> None:
    order = placed_order(adjustments=[{"kind": "discount", "label": "AUTUMN", "amount": Decimal("-5.30")}])
    html = signed_in("clerk").get(page_of(order)).content.decode()
    for words in ("AUTUMN", "discount", "-5.30 USD", "40.00 USD"):
        assert words in html, words


def test_a_rejected_order_says_what_there_was_too_little_of() -> None:
    order = answered_order(items=[an_item(quantity=5_000)])
    html = signed_in("clerk").get(page_of(order)).content.decode()
    assert "5,000 of Vase asked for, 1,000 left" in html


def test_an_order_that_waits_says_for_what() -> None:
    order = placed_order()
    html = signed_in("clerk").get(page_of(order)).content.decode()
    assert 'data-live="2"' in html


def test_a_clerk_cancels_with_a_reason_that_is_kept() -> None:
    order = answered_order()
    client = signed_in("clerk")
    answer = client.post(reverse("console:cancel", args=[order.pk]), {"reason": "changed their mind"}, follow=True)
    assert "The order is cancelled." in answer.content.decode()
    (event,) = published(OrderCancelled)
    assert (event.reason, event.cancelled_by) == ("changed their mind", "staff")
    archived = ArchivedEvent.objects.get(type=OrderCancelled.type)
    assert archived.user_id == client.session["_auth_user_id"]
    assert LogEntry.objects.get().change_message == "Cancelled: changed their mind"
    assert "Cancelled by staff: changed their mind" in answer.content.decode()


@pytest.mark.parametrize(
    ("form", "words"), [({"reason": ""}, "This field is required"), ({"reason": "a\nb"}, "No line breaks")]
)
def test_a_cancel_without_a_proper_reason_does_nothing(form: dict[str, str], words: str) -> None:
    order = answered_order()
    answer = signed_in("clerk").post(reverse("console:cancel", args=[order.pk]), form, follow=True)
    assert words in answer.content.decode()
    assert published(OrderCancelled) == []


def test_what_cannot_be_cancelled_says_why() -> None:
    order = answered_order(items=[an_item(quantity=5_000)])
    answer = signed_in("clerk").post(reverse("console:cancel", args=[order.pk]), {"reason": "no"}, follow=True)
    assert "is REJECTED: it cannot become CANCELLED" in answer.content.decode()
    assert not LogEntry.objects.exists()


def test_a_dispatcher_may_not_cancel_and_a_clerk_not_dispatch() -> None:
    order = answered_order()
    assert signed_in("dispatcher").post(reverse("console:cancel", args=[order.pk])).status_code == 403
    assert signed_in("clerk").post(reverse("console:dispatch-order", args=[order.pk])).status_code == 403


def test_a_dispatcher_sends_the_parcel_off() -> None:
    order = answered_order()
    how = {"carrier": "Fast Parcel", "tracking_number": "FP-1", "estimated_delivery": in_some_days()}
    client = signed_in("dispatcher")
    answer = client.post(reverse("console:dispatch-order", args=[order.pk]), how, follow=True)
    assert "The parcel is on its way." in answer.content.decode()
    assert Shipment.objects.get().state == "DISPATCHED"
    work_off()
    html = client.get(page_of(order)).content.decode()
    assert "Parcel handed to Fast Parcel, tracking number FP-1" in html
    assert "by dispatcher" in html


def test_a_day_that_has_been_is_refused() -> None:
    order = answered_order()
    how = {"carrier": "Fast Parcel", "tracking_number": "FP-1", "estimated_delivery": "2020-01-01"}
    answer = signed_in("dispatcher").post(reverse("console:dispatch-order", args=[order.pk]), how, follow=True)
    assert "2020-01-01 has been" in answer.content.decode()
    assert Shipment.objects.get().state == "PREPARED"


def test_a_mail_in_doubt_is_sent_again_once() -> None:
    order = answered_order()
    Mail.objects.update(state="UNKNOWN", error="The sender died.")
    client, address = signed_in("clerk"), reverse("console:resend", args=[order.pk, Mail.objects.get().pk])
    assert "It may have arrived" in client.get(page_of(order)).content.decode()
    assert "queued again" in client.post(address, follow=True).content.decode()
    assert "left alone" in client.post(address, follow=True).content.decode()
    assert LogEntry.objects.count() == 1


def test_an_order_that_is_not_there() -> None:
    answer = signed_in("clerk").get(reverse("console:order", args=[uuid4()]))
    assert answer.status_code == 404
    assert "There is no order" in answer.content.decode()


class TestList:
    """The list, its filters and its file."""

    def test_it_filters_by_status_customer_and_time(self) -> None:
        kept = answered_order(customerId="c-kept", customerEmail="kept@shop.example")
        answered_order(customerId="c-other", items=[an_item(quantity=5_000)])
        client = signed_in("clerk")
        for query in ("status=CONFIRMED", "customer=c-kept", "customer=KEPT@shop.example"):
            html = client.get(f"/orders/?{query}").content.decode()
            assert str(kept.pk) in html, query
            assert "c-other" not in html, query
        assert "No order is like that" in client.get("/orders/?since=2100-01-01").content.decode()

    def test_what_is_no_filter_is_said(self) -> None:
        html = signed_in("clerk").get("/orders/?since=yesterday&cursor=!").content.decode()
        assert "Since: Enter a valid date" in html
        assert "That is no page of ours" in html

    def test_pages_lead_on_and_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("console.views.orders.SHOWN", 1)
        older, newer = placed_order(), placed_order()
        client = signed_in("clerk")
        first = client.get("/orders/")
        assert str(newer.pk) in first.content.decode()
        second = client.get(f"/orders/?cursor={first.context['page'].next}")
        assert str(older.pk) in second.content.decode()
        assert "Newer" in second.content.decode()

    def test_its_file_starts_no_formula(self) -> None:
        placed_order(customerId="=HYPERLINK(1)")
        answer = signed_in("clerk").get("/orders/?format=csv")
        assert answer["Content-Type"].startswith("text/csv")
        assert ",'=HYPERLINK(1)," in answer.content.decode()

    @pytest.mark.parametrize(("value", "text"), [("+1", "'+1"), ("@a", "'@a"), ("-1", "'-1"), ("a=", "a="), ("", "")])
    def test_what_begins_like_a_formula_is_text(self, value: Any, text: str) -> None:
        assert harmless(value) == text


class TestBench:
    """Dispatching several at once."""

    def test_each_parcel_has_its_own_number_and_who_has_none_stays(self) -> None:
        first, second = answered_order(), answered_order()
        form = {"carrier": "Fast Parcel", "estimated_delivery": in_some_days(), f"n-{first.pk}": "FP-1"}
        answer = signed_in("dispatcher").post("/dispatch/", form, follow=True)
        assert "Dispatched: 1 parcel." in answer.content.decode()
        assert [Shipment.objects.get(pk=each.pk).state for each in (first, second)] == ["DISPATCHED", "PREPARED"]

    def test_a_number_for_two_parcels_and_a_day_that_has_been_are_refused(self) -> None:
        orders = answered_order(), answered_order()
        form = {"carrier": "Fast Parcel", "estimated_delivery": "2020-01-01"}
        form |= {f"n-{order.pk}": "FP-1" for order in orders}
        html = signed_in("dispatcher").post("/dispatch/", form).content.decode()
        assert html.count("Another parcel on this page has this number.") == 2
        assert "2020-01-01 has been" in html
        assert set(Shipment.objects.values_list("state", flat=True)) == {"PREPARED"}

    def test_a_clerk_looks_and_does_nothing(self) -> None:
        answered_order()
        client = signed_in("clerk")
        assert "it takes the role dispatcher" in client.get("/dispatch/").content.decode()
        assert client.post("/dispatch/", {}).status_code == 403


def test_the_shop_shows_what_today_brought_and_what_runs_out() -> None:
    placed_order()
    html = signed_in("clerk").get("/").content.decode()
    for words in ("Late orders", "To dispatch", "Mails in doubt", "Nothing is below its threshold"):
        assert words in html
    assert ArchivedEvent.objects.filter(type=OrderCreated.type).count() == 1
