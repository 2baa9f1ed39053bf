"""What the customer reads."""

from decimal import Decimal

import pytest

from notifications.consumers import apology, cancellation, confirmation, tracking
from notifications.tests.builders import order_cancelled, order_confirmed, order_rejected, order_shipped
from orders.events import Adjustment, CancelledBy, Item


def test_a_confirmation_lists_what_was_ordered() -> None:
    order = order_confirmed()
    mail = confirmation(order)
    assert mail.to == "ada@customer.example"
    assert mail.subject == f"Your order {order.order_id} is confirmed"
    for part in (mail.text, mail.html):
        for said in (str(order.order_id), "2 \u00d7 Cup", "4.50 USD", "9.00 USD", "1,290.00 USD", "1,299.00 USD"):
            assert said in part


def test_an_apology_says_what_there_was_too_little_of() -> None:
    mail = apology(order_rejected())
    assert "can't deliver" in mail.subject
    assert "Vase: you asked for 1, we have none" in mail.text
    assert "<li>Vase: you asked for 1, we have none</li>" in mail.html


def test_an_apology_without_shortages_names_none() -> None:
    assert "too little" not in apology(order_rejected(shortages=(), reason="expired")).text


def test_a_tracking_mail_says_who_brings_it_when_and_how_to_follow_it() -> None:
    order = order_shipped()
    mail = tracking(order)
    assert mail.subject == f"Your order {order.order_id} is on its way"
    for part in (mail.text, mail.html):
        for said in ("Fast Parcel", "FP-1", "1 December 2026", "2 \u00d7 Cup", "1,299.00 USD"):
            assert said in part


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (CancelledBy.CUSTOMER, "at your request"),
        (CancelledBy.STAFF, "by our staff"),
        (CancelledBy.DEADLINE, "could not confirm it in time"),
        (None, "called off"),
    ],
)
def test_a_cancellation_says_by_whom_and_why(by: CancelledBy | None, said: str) -> None:
    order = order_cancelled(cancelled_by=by, reason="<b>too late</b>")
    mail = cancellation(order)
    assert mail.subject == f"Your order {order.order_id} is cancelled"
    for part in (mail.text, mail.html):
        for each in (said, str(order.order_id), "2 \u00d7 Cup", "1,299.00 USD"):
            assert each in part
    assert "Reason: <b>too late</b>" in mail.text
    assert "Reason: &lt;b&gt;too late&lt;/b&gt;" in mail.html


def test_a_mail_says_what_is_added_to_the_items() -> None:
    added = [("discount", "Spring <sale>", "-100.00"), ("shipping", "By parcel", "4.90"), ("tax", "VAT", "0")]
    adjustments = tuple(Adjustment(kind=kind, label=label, amount=Decimal(amount)) for kind, label, amount in added)
    mail = confirmation(order_confirmed(adjustments=adjustments))
    for said in ("Spring <sale>: -100.00 USD\n", "By parcel: 4.90 USD\n", "VAT: 0.00 USD\n"):
        assert said in mail.text
    assert "Spring &lt;sale&gt;</td>" in mail.html
    assert "-100.00 USD</td>" in mail.html


def test_markup_in_a_name_is_text_in_the_html_part_and_untouched_in_the_plain_one() -> None:
    name = "<script>alert('&')</script>"
    items = (Item(product_id="x", product_name=name, quantity=1, unit_price=Decimal(1)),)
    mail = confirmation(order_confirmed(items=items, total_amount=Decimal(1)))
    assert name in mail.text
    assert "<script" not in mail.html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in mail.html


def test_amounts_of_a_currency_without_decimals_have_none() -> None:
    items = (Item(product_id="x", product_name="Tea", quantity=3, unit_price=Decimal(500)),)
    mail = confirmation(order_confirmed(items=items, total_amount=Decimal(1500), currency="JPY"))
    assert "Total: 1,500 JPY" in mail.text


def test_the_message_id_depends_on_order_and_kind_alone() -> None:
    order = order_confirmed()
    assert confirmation(order).message_id == confirmation(order).message_id
    assert confirmation(order).message_id == f"<confirmation.{order.order_id}@shop.example>"
