"""One field that finds everything."""

import pytest
from django.urls import reverse

from console.tests.builders import answered_order, event_of, signed_in
from orders.events import OrderConfirmed
from orders.tests.builders import placed_order
from shipping.models import Shipment

pytestmark = pytest.mark.usefixtures("shop")


def test_what_is_meant_is_shown_at_once() -> None:
    order = answered_order(customerId="c-77", customerEmail="grace@shop.example")
    Shipment.objects.update(tracking_number="FP-77")
    client = signed_in("clerk", "operator")
    page = reverse("console:order", args=[order.pk])
    digits = order.pk.hex
    for text in (
        str(order.pk),
        str(order.pk).upper(),
        f"{digits[:8]}…{digits[-4:]}",
        digits[:8],
        "GRACE@shop.example",
        "c-77",
        "FP-77",
    ):
        assert client.get("/search", {"q": text})["Location"] == page, text
    event_id = event_of(order.pk, OrderConfirmed.type)
    assert client.get("/search", {"q": str(event_id)})["Location"] == reverse("console:trace", args=[event_id])
    assert client.get("/search", {"q": order.correlation_id})["Location"] == reverse(
        "console:trace", args=[order.correlation_id]
    )
    assert client.get("/search", {"q": "reserve_st"})["Location"] == "/pipeline/consumers/inventory.reserve_stock/"
    assert "/stock/vase/" in client.get("/search", {"q": "vase"})["Location"]


def test_what_may_be_several_things_is_listed() -> None:
    orders = [placed_order(), placed_order()]
    html = signed_in("clerk").get("/search", {"q": "c-1"}).content.decode()
    assert all(str(order.pk) in html for order in orders)


def test_nobody_finds_what_he_may_not_see() -> None:
    order = answered_order()
    answer = signed_in().get("/search", {"q": str(order.pk)})
    assert answer.status_code == 200
    assert "nothing that you may see" in answer.content.decode()


@pytest.mark.parametrize("text", ["", " ", "a" * 300, "a\x00b", "%", "'; --", "…", "\N{SNOWMAN}"])
def test_whatever_is_asked_gets_an_answer(text: str) -> None:
    assert signed_in("clerk", "operator", "auditor").get("/search", {"q": text}).status_code == 200
