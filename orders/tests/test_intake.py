"""What intake takes, what it refuses, and what it stores."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eventbus import encode_json
from eventbus.testing import ArchivedEvent, Outbox, Stream, published
from orders import intake
from orders.currencies import COUNTRIES, SMALLEST
from orders.events import OrderCreated
from orders.models import Order, OrderItem
from orders.tests.builders import PATH, Api, an_item, an_order, exact, pointers


def test_an_order_its_lines_and_its_event_are_stored_together(api: Api) -> None:
    answer = api.post()
    order = Order.objects.get()
    assert answer.status_code == 201
    assert answer.json()["orderId"] == str(order.pk)
    assert (order.status, order.channel, order.total_amount) == ("CREATED", api.user, Decimal("45.30"))
    assert list(order.items.values_list("line", "product_id", "quantity", "unit_price")) == [
        (1, "vase", 2, Decimal("19.90")),
        (2, "jug", 1, Decimal("5.50")),
    ]
    [event] = published(OrderCreated)
    assert (event.order_id, event.created_at) == (order.pk, order.created_at)
    assert [item.product_id for item in event.items] == ["vase", "jug"]
    assert Outbox.objects.count() == Stream.objects.get(aggregate_id=str(order.pk)).sequence == 1


def test_the_answer_is_what_a_later_get_says(api: Api) -> None:
    placed = api.post()
    assert placed["Location"] == f"http://testserver{PATH}/{placed.json()['orderId']}"
    assert exact(api.get(placed["Location"])) == exact(placed)
    assert list(exact(placed)) == [
        *("orderId", "status", "customerId", "customerEmail", "items", "shippingAddress", "adjustments"),
        *("totalAmount", "currency", "createdAt", "updatedAt"),
    ]


def test_the_event_says_who_caused_it(api: Api) -> None:
    answer = api.post(x_correlation_id="from-the-shop-1")
    event = ArchivedEvent.objects.get()
    assert answer["x-correlation-id"] == event.correlation_id == Order.objects.get().correlation_id == "from-the-shop-1"
    assert event.user_id == str(api.user.pk)
    assert event.causation_id is None


def test_a_fresh_correlation_id_is_on_answer_order_and_event_alike(api: Api) -> None:
    answer = api.post()
    assert (
        answer["x-correlation-id"] == ArchivedEvent.objects.get().correlation_id == Order.objects.get().correlation_id
    )


def test_an_order_takes_as_many_statements_with_200_lines_as_with_one(api: Api) -> None:
    counts = []
    for lines in (1, 200):
        body = an_order(items=[an_item(productId=f"p{line}") for line in range(lines)])
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert api.post(body).status_code == 201
        counts.append(len(queries))
    # The token's look-up, and all the rest at once.
    assert counts == [2, 2]
    assert OrderItem.objects.count() == 201


def test_the_largest_order_fits_into_an_event(api: Api) -> None:
    widest = an_item(
        productId="€" * 64, productName='"\N{ROLLING ON THE FLOOR LAUGHING}' * 100, quantity=intake.MAX_QUANTITY
    )
    added = {"kind": "fee", "label": '"\N{ROLLING ON THE FLOOR LAUGHING}' * 100, "amount": Decimal("1.23")}
    body = an_order(items=[widest] * intake.MAX_ITEMS, adjustments=[added] * intake.MAX_ADJUSTMENTS)
    assert api.post(body).status_code == 201
    with connection.cursor() as cursor:
        cursor.execute("SELECT octet_length(data::text) FROM event")
        assert cursor.fetchone()[0] < 990_000


def test_currency_defaults_to_usd(api: Api) -> None:
    body = an_order()
    del body["currency"]
    assert api.post(body).json()["currency"] == "USD"


@pytest.mark.parametrize(
    ("currency", "amount", "written"),
    [
        ("USD", "5", "5.00"),
        ("USD", "5.1", "5.10"),
        ("USD", "5.10", "5.10"),
        ("USD", "5.1000", "5.10"),
        ("USD", "51E-1", "5.10"),
        ("USD", "0", "0.00"),
        ("USD", "999999999999.99", "999999999999.99"),
        ("JPY", "500", "500"),
        ("JPY", "5e2", "500"),
        ("KWD", "1.234", "1.234"),
        ("CLF", "0.0001", "0.0001"),
    ],
)
def test_an_amount_is_answered_and_stored_with_its_currencys_decimals(
    api: Api, currency: str, amount: str, written: str
) -> None:
    body = an_order(currency=currency, items=[an_item(quantity=1, unitPrice="PRICE")], totalAmount="PRICE")
    answer = api.post(json.dumps(body).replace('"PRICE"', amount).encode())
    assert f'"totalAmount":{written},'.encode() in answer.content
    assert exact(api.get(answer["Location"]))["items"][0]["unitPrice"] == Decimal(written)
    with connection.cursor() as cursor:
        cursor.execute("SELECT data->>'totalAmount' FROM event")
        assert cursor.fetchone() == (written,)


@given(
    prices=st.lists(st.decimals(0, 10**8, places=2), min_size=1, max_size=20),
    quantity=st.integers(1, 1000),
)
def test_any_amounts_that_add_up_are_taken_exactly(prices: list[Decimal], quantity: int) -> None:
    body = an_order(items=[an_item(quantity=quantity, unitPrice=price) for price in prices])
    order = intake.parse_order(json.loads(encode_json(body), parse_float=Decimal))
    assert [item.unit_price for item in order.items] == prices
    assert order.total_amount == quantity * sum(prices)


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.integers())
def test_any_number_is_taken_as_it_is_or_refused(amount: Any) -> None:
    body = an_order(items=[an_item(quantity=1, unitPrice=amount)], totalAmount=amount)
    if 0 <= amount < 10**12 and amount == round(amount, 2) and not Decimal(amount).is_signed():
        assert intake.parse_order(body).total_amount == amount
    else:
        with pytest.raises(ValidationError):
            intake.parse_order(body)


def change(path: str, value: Any) -> Any:
    """A valid order with one thing changed, or taken out where the value is `...`."""
    body = an_order()
    *parents, name = [int(step) if step.isdigit() else step for step in path.split(".")]
    target: Any = body
    for step in parents:
        target = target[step]
    if value is ...:
        del target[name]
    else:
        target[name] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("customerId", ..., "missing"),
        ("customerId", "", "string_too_short"),
        ("customerId", 7, "string_type"),
        ("customerId", "x" * 65, "string_too_long"),
        ("customerId", " c1", "surrounding_space"),
        ("customerEmail", ..., "missing"),
        ("customerEmail", "nobody", "email"),
        ("customerEmail", "a@b", "email"),
        ("customerEmail", "a@b..example", "email"),
        ("customerEmail", "a b@shop.example", "email"),
        ("customerEmail", "a@shop.example\nBcc: all@shop.example", "email"),
        ("customerEmail", "a@shop.example\n", "email"),
        ("customerEmail", "x" * 65 + "@shop.example", "email"),
        ("customerEmail", "a@" + "x" * 63 + "." + ("y" * 60 + ".") * 4 + "example", "email"),
        ("customerEmail", "a@shop.example, b@shop.example", "email"),
        ("items", ..., "missing"),
        ("items", [], "too_short"),
        ("items", {}, "list_type"),
        ("items", [an_item()] * 501, "too_long"),
        ("items.0", "vase", "model_type"),
        ("items.0.productId", ..., "missing"),
        ("items.0.productName", "two\nlines", "control_character"),
        ("items.0.productName", "return\rhere", "control_character"),
        ("items.0.productName", "line\u2028separator", "control_character"),
        ("items.0.productName", "nul\0", "control_character"),
        ("items.0.productName", None, "string_type"),
        ("items.1.quantity", ..., "missing"),
        ("items.1.quantity", 0, "greater_than_equal"),
        ("items.1.quantity", -1, "greater_than_equal"),
        ("items.1.quantity", 2**31, "less_than_equal"),
        ("items.1.quantity", 2**100, "less_than_equal"),
        ("items.1.quantity", "1", "int_type"),
        ("items.1.quantity", 1.5, "int_type"),
        ("items.1.quantity", True, "int_type"),
        ("items.0.unitPrice", ..., "missing"),
        ("items.0.unitPrice", "19.90", "amount_type"),
        ("items.0.unitPrice", None, "amount_type"),
        ("items.0.unitPrice", True, "amount_type"),
        ("items.0.unitPrice", -1, "amount_negative"),
        ("items.0.unitPrice", Decimal("-0.01"), "amount_negative"),
        ("items.0.unitPrice", Decimal("0.001"), "amount_too_precise"),
        ("items.0.unitPrice", 10**12, "amount_too_large"),
        ("items.0.unitPrice", Decimal("1E+99"), "amount_too_large"),
        ("items.0.unitPrice", Decimal("1E-99"), "amount_too_precise"),
        ("shippingAddress", ..., "missing"),
        ("shippingAddress", "1 Main St", "model_type"),
        ("shippingAddress.street", ..., "missing"),
        ("shippingAddress.city", "", "string_too_short"),
        ("shippingAddress.state", ..., "missing"),
        ("shippingAddress.postalCode", 62701, "string_type"),
        ("shippingAddress.country", "XX", "country"),
        ("shippingAddress.country", "us", "country"),
        ("totalAmount", ..., "missing"),
        ("totalAmount", Decimal("45.31"), "total_mismatch"),
        ("totalAmount", 0, "total_mismatch"),
        ("currency", "XXX", "currency"),
        ("currency", "usd", "currency"),
        ("currency", None, "string_type"),
        ("currency", ["USD"], "string_type"),
        ("status", "CONFIRMED", "extra_forbidden"),
        ("channel", 1, "extra_forbidden"),
        ("orderId", "01a20c2b-19c2-7312-877d-c68eeeba7c67", "extra_forbidden"),
        ("customer_id", "c-2", "extra_forbidden"),
        ("items.0.discount", 1, "extra_forbidden"),
        ("shippingAddress.a/b~c", 1, "extra_forbidden"),
    ],
)
def test_what_is_wrong_is_pointed_at_and_nothing_is_stored(api: Api, path: str, value: Any, code: str) -> None:
    answer = api.post(change(path, value))
    pointer = "/" + path.replace("~", "~0").replace("/", "~1").replace(".", "/")
    assert (answer.status_code, pointers(answer)) == (422, {pointer: code})
    assert not Order.objects.exists()
    assert not ArchivedEvent.objects.exists()


def test_all_that_is_wrong_is_listed(api: Api) -> None:
    body = an_order(
        items=[an_item(quantity=0), an_item(unitPrice="1")], customerEmail="?", currency="??", totalAmount=1
    )
    assert set(pointers(api.post(body))) == {
        *("/items/0/quantity", "/items/1/unitPrice", "/customerEmail", "/currency"),
    }


def test_a_problem_lists_a_hundred_errors_at_most(api: Api) -> None:
    answer = api.post(an_order(items=[an_item(quantity=0)] * 500, totalAmount=0))
    assert len(answer.json()["errors"]) == 100


@pytest.mark.parametrize("body", [b"[]", b"1", b'"order"', b"null", b"true"])
def test_json_that_is_no_object_is_invalid(api: Api, body: bytes) -> None:
    assert pointers(api.post(body)) == {"": "model_type"}


@pytest.mark.parametrize(
    "name",
    [
        "Café au lait",
        "花瓶 (大)",
        "joined\u200cby an invisible",
        "Non\u00a0breaking",
        "\N{GRINNING FACE}\u200d",
        "<script>alert(1)</script>",
    ],
)
def test_names_in_any_script_are_taken_as_they_are(api: Api, name: str) -> None:
    answer = api.post(an_order(items=[an_item(productName=name)]))
    assert exact(api.get(answer["Location"]))["items"][0]["productName"] == name


def test_countries_without_states_or_postal_codes_are_served(api: Api) -> None:
    address = {"street": "1 Road", "city": "Hong Kong", "state": "", "postalCode": "", "country": "HK"}
    assert api.post(an_order(shippingAddress=address)).status_code == 201


@pytest.mark.parametrize(
    "email", ["ada@shop.example", "first.last+tag@sub.shop.example", "o'neil@xn--bcher-kva.example", "1@2.example"]
)
def test_usual_addresses_are_taken(api: Api, email: str) -> None:
    assert api.post(an_order(customerEmail=email)).status_code == 201


def test_the_tables_of_codes_are_whole() -> None:
    assert len(COUNTRIES) == 249
    assert all(len(code) == 3 for code in SMALLEST)
    assert (SMALLEST["JPY"], SMALLEST["USD"], SMALLEST["KWD"], SMALLEST["CLF"]) == (
        *(Decimal("1"), Decimal("0.01"), Decimal("0.001"), Decimal("0.0001")),
    )
