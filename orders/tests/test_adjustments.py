"""Shipping, tax, discounts, roundings and fees: what an order's total has in it beside its items."""

import json
from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from eventbus import encode_json
from eventbus.testing import ArchivedEvent, from_archive, published
from orders import intake, services
from orders.consumers import take_back_order
from orders.events import (
    Adjustment,
    OrderConfirmed,
    OrderCreated,
    OrderCreatedOne,
    with_a_customer,
    without_adjustments,
)
from orders.models import Order, OrderAdjustment
from orders.tests.builders import Api, an_adjustment, an_order, created_event, exact, placed_order, pointers

pytestmark = pytest.mark.django_db

#: As a shop has them: 45.30 of goods become 49.31.
USUAL = [
    an_adjustment("discount", "-4.53", label="Spring sale"),
    an_adjustment("shipping", "4.90", label="By parcel"),
    an_adjustment("tax", "3.67", label="VAT 9 %"),
    an_adjustment("rounding", "-0.03"),
    an_adjustment("fee", "0.00"),
]


def test_the_total_is_items_and_adjustments(api: Api) -> None:
    answer = api.post(an_order(adjustments=USUAL))
    assert answer.status_code == 201, answer.content
    told = exact(answer)
    assert (told["totalAmount"], told["adjustments"]) == (Decimal("49.31"), USUAL)
    assert exact(api.get(answer["Location"])) == told
    assert list(OrderAdjustment.objects.values_list("line", "kind", "amount")) == [
        (line, each["kind"], each["amount"]) for line, each in enumerate(USUAL, 1)
    ]


def test_its_event_tells_them_and_who_the_customer_is(api: Api) -> None:
    api.place(adjustments=USUAL)
    [event] = published(OrderCreated)
    assert [each.model_dump() for each in event.adjustments] == USUAL
    assert (event.customer.id, event.customer.email) == ("c-1", "ada@shop.example")
    row = ArchivedEvent.objects.get()
    assert (row.version, row.data["customer"]) == ("2.0", {"id": "c-1", "email": "ada@shop.example"})


def test_an_order_without_any_is_what_it_was(api: Api) -> None:
    assert api.post().json()["adjustments"] == []
    assert not OrderAdjustment.objects.exists()


def test_an_order_may_cost_nothing_and_never_less(api: Api) -> None:
    gift = [an_adjustment("discount", "-45.30")]
    assert api.post(an_order(adjustments=gift)).json()["totalAmount"] == 0
    below = [an_adjustment("discount", "-45.31")]
    assert pointers(api.post(an_order(adjustments=below, totalAmount=0))) == {"/adjustments": "total_negative"}


@pytest.mark.parametrize(
    ("wrong", "pointer", "code"),
    [
        ({"kind": "bribe"}, "kind", "enum"),
        ({"kind": None}, "kind", "enum"),
        ({"label": ""}, "label", "string_too_short"),
        ({"label": "a\r\nBcc: all@x.example"}, "label", "control_character"),
        ({"label": "x" * 201}, "label", "string_too_long"),
        ({"amount": "4.90"}, "amount", "amount_type"),
        ({"amount": True}, "amount", "amount_type"),
        ({"amount": Decimal("4.901")}, "amount", "amount_too_precise"),
        ({"amount": Decimal("1E+12")}, "amount", "amount_too_large"),
        ({"amount": Decimal("-4.90")}, "", "amount_negative"),
        ({"kind": "discount"}, "", "discount_positive"),
        ({"taxRate": 9}, "taxRate", "extra_forbidden"),
    ],
    ids=repr,
)
def test_each_that_is_wrong_is_pointed_at(api: Api, wrong: dict[str, Any], pointer: str, code: str) -> None:
    body = an_order(adjustments=[an_adjustment("tax", "1.00"), an_adjustment()]) | {"totalAmount": 1}
    body["adjustments"][1] |= wrong
    found = pointers(api.post(body))
    assert found == {"/adjustments/1" + (pointer and f"/{pointer}"): code}
    assert not Order.objects.exists()


def test_a_total_that_leaves_them_out_is_told_what_it_is(api: Api) -> None:
    answer = api.post(an_order(adjustments=USUAL, totalAmount=Decimal("45.30")))
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["detail"]) == ("/totalAmount", "The items and adjustments add up to 49.31.")


@pytest.mark.parametrize("adjustments", [None, {}, "none", [an_adjustment()] * (intake.MAX_ADJUSTMENTS + 1)], ids=type)
def test_they_are_a_list_and_not_endless(api: Api, adjustments: Any) -> None:
    assert list(pointers(api.post(an_order(totalAmount=0) | {"adjustments": adjustments}))) == ["/adjustments"]


def test_a_repeat_of_a_request_from_before_there_were_any_is_the_same_request() -> None:
    asked = intake.parse_order(json.loads(encode_json(an_order()), parse_float=Decimal)).as_asked()
    assert list(asked) == ["customer_id", "customer_email", "items", "shipping_address", "total_amount", "currency"]
    more = intake.parse_order(json.loads(encode_json(an_order(adjustments=USUAL)), parse_float=Decimal)).as_asked()
    assert len(more["adjustments"]) == len(USUAL)


def test_a_repeat_with_its_key_makes_one_order(api: Api) -> None:
    first, again = (api.post(an_order(adjustments=USUAL), idempotency_key="k-1") for _ in range(2))
    assert (first.status_code, again.content) == (201, first.content)
    assert OrderAdjustment.objects.count() == len(USUAL)
    other = api.post(an_order(adjustments=USUAL[:1]), idempotency_key="k-1")
    assert other.json()["type"].endswith("idempotency-key-reused")


def test_what_becomes_of_the_order_tells_them_too() -> None:
    order = placed_order(adjustments=USUAL)
    services.confirm_orders({order.pk: None})
    [told] = published(OrderConfirmed)
    assert [each.model_dump() for each in told.adjustments] == USUAL


def test_an_order_taken_back_has_them_again() -> None:
    order = placed_order(adjustments=USUAL)
    event = from_archive(ArchivedEvent.objects.get(pk=created_event(order)))
    assert isinstance(event, OrderCreated)
    before = list(order.adjustments.values_list("line", "kind", "label", "amount"))
    Order.objects.filter(pk=order.pk).delete()
    take_back_order(event)
    assert list(OrderAdjustment.objects.values_list("line", "kind", "label", "amount")) == before


@pytest.mark.parametrize(("kind", "amount"), [("tax", -1), ("discount", 1), ("bribe", 1)])
def test_the_database_refuses_what_no_adjustment_is(kind: str, amount: int) -> None:
    order = placed_order()
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderAdjustment.objects.create(order=order, line=1, kind=kind, label="x", amount=amount)


# --- order.created from 1.0 to 2.0 and back

texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
amounts = st.decimals(0, 10**9, places=2)
items = st.fixed_dictionaries(
    {"product_id": texts, "product_name": texts, "quantity": st.integers(1, 99), "unit_price": amounts}
)
one = st.fixed_dictionaries(
    {
        "order_id": st.uuids(version=4),
        "customer_id": texts,
        "customer_email": st.just("ada@shop.example"),
        "items": st.lists(items, min_size=1),
        "shipping_address": st.just(an_order()["shippingAddress"]),
        "total_amount": amounts,
        "currency": st.sampled_from(["USD", "JPY"]),
        "created_at": st.datetimes(timezones=st.just(UTC)),
    }
).map(OrderCreatedOne.model_validate)
surcharges = st.fixed_dictionaries(
    {"kind": st.sampled_from(["shipping", "tax", "fee"]), "label": texts, "amount": amounts}
)
discounts = st.fixed_dictionaries({"kind": st.just("discount"), "label": texts, "amount": amounts.map(lambda a: -a)})
adjusted = st.lists((surcharges | discounts).map(Adjustment.model_validate), max_size=5)


@given(one)
def test_what_1_0_says_survives_the_way_up_and_down(old: OrderCreatedOne) -> None:
    assert without_adjustments(with_a_customer(old)) == old


@given(one, adjusted)
def test_of_what_2_0_says_1_0_lacks_the_adjustments_alone(old: OrderCreatedOne, adjustments: list[Adjustment]) -> None:
    new = with_a_customer(old).model_copy(update={"adjustments": tuple(adjustments)})
    again = with_a_customer(without_adjustments(new))
    assert again == new.model_copy(update={"adjustments": ()})
