"""What the mails say: an event becomes a mail, and a mail the message that goes out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parseaddr
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from notifications.models import Kind, Mail

SUBJECTS = {
    Kind.CONFIRMATION: "Your order {number} is confirmed",
    Kind.TRACKING: "Your order {number} is on its way",
    Kind.CANCELLATION: "Your order {number} is cancelled",
    Kind.APOLOGY: "We are sorry: we can't deliver your order {number}",
}

#: A mail's id as it stands in a mail server's log.
MESSAGE_ID = re.compile(
    rf"(<(?:{'|'.join(Kind.values)})\.[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}@[^<>\s]+>)"
)


class Ordered(Protocol):
    """What a mail needs to know of an order's line."""

    @property
    def product_name(self) -> str: ...
    @property
    def quantity(self) -> int: ...
    @property
    def unit_price(self) -> Decimal: ...


class Adjusted(Protocol):
    """What a mail needs to know of what is added to an order's lines."""

    @property
    def label(self) -> str: ...
    @property
    def amount(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order, as a customer reads it."""

    product_name: str
    quantity: int
    unit_price: str
    total: str


def render_mail(kind: Kind, *, order_id: UUID, to: str, context: Mapping[str, Any]) -> Mail:
    """A mail of this kind, as plain text and as HTML. It is not stored yet."""
    number = str(order_id)
    subject = SUBJECTS[kind].format(number=number)
    context = {**context, "number": number, "subject": subject}
    return Mail(
        order_id=order_id,
        kind=kind,
        to=to,
        subject=subject,
        text=render_to_string(f"notifications/{kind}.txt", context),
        html=render_to_string(f"notifications/{kind}.html", context),
        message_id=_message_id(kind, order_id),
    )


def _message_id(kind: Kind, order_id: UUID) -> str:
    """Made of order and kind: the same however often the mail is rendered."""
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return f"<{kind}.{order_id}@{sender.rpartition('@')[2]}>"


def as_message(mail: Mail) -> EmailMultiAlternatives:
    """A stored mail as it goes out. Marked as sent by a machine (RFC 3834), so that holiday notices don't answer."""
    headers = {"Message-ID": mail.message_id, "Auto-Submitted": "auto-generated"}
    message = EmailMultiAlternatives(subject=mail.subject, body=mail.text, to=[mail.to], headers=headers)
    message.attach_alternative(mail.html, "text/html")
    return message


def order_context(
    items: Sequence[Ordered], total: Decimal, currency: str, adjustments: Sequence[Adjusted] = ()
) -> dict[str, Any]:
    """What a mail says about an order: its lines, what is added to them, and its total, all with the same number of
    decimals."""
    amounts = [total, *(item.unit_price for item in items), *(each.amount for each in adjustments)]
    places = max(max(0, -int(amount.as_tuple().exponent)) for amount in amounts)

    def money(amount: Decimal) -> str:
        return f"{amount:,.{places}f} {currency}"

    lines = [
        Line(item.product_name, item.quantity, money(item.unit_price), money(item.unit_price * item.quantity))
        for item in items
    ]
    added = [{"label": each.label, "amount": money(each.amount)} for each in adjustments]
    return {"lines": lines, "adjustments": added, "total": money(total)}
