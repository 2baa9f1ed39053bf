"""What any program may send as an order's event: no table, mail or total suffers from it."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from eventbus import Event
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderCreatedOne, OrderRejected, OrderShipped

ITEM = {"productId": "jug", "productName": "Jug", "quantity": 1, "unitPrice": Decimal("19.90")}
ADDRESS = {"street": "12 Harbour Road", "city": "Bristol", "state": "", "postalCode": "", "country": "GB"}
CUSTOMER = {"id": "c-1", "email": "ada@x.example"}
TAX = {"kind": "tax", "label": "VAT", "amount": Decimal("3.80")}
ORDER = {
    "orderId": str(uuid4()),
    "customer": CUSTOMER,
    "adjustments": [TAX],
    "customerId": "c-1",
    "customerEmail": "ada@shop.example",
    "items": [ITEM],
    "shippingAddress": ADDRESS,
    "totalAmount": Decimal("19.90"),
    "currency": "GBP",
    "createdAt": "2026-02-01T00:00:00Z",
    "reason": "requested",
    "carrier": "DHL",
    "trackingNumber": "JD014",
    "estimatedDelivery": "2026-02-04",
}


OF_AN_ORDER = (OrderCreatedOne, OrderConfirmed, OrderRejected, OrderCancelled, OrderShipped)


@pytest.mark.parametrize("contract", [*OF_AN_ORDER, OrderCreated])
def test_a_good_order_is_taken(contract: type[Event]) -> None:
    read = contract.model_validate(ORDER).model_dump()
    assert (read["total_amount"], read["currency"]) == (Decimal("19.90"), "GBP")


def test_a_moment_is_in_utc() -> None:
    read = OrderCreated.model_validate(ORDER | {"createdAt": "2026-02-01T01:00:00+01:00"})
    assert read.created_at == datetime(2026, 2, 1, tzinfo=UTC)
    assert OrderShipped.model_validate(ORDER).estimated_delivery == date(2026, 2, 4)


@pytest.mark.parametrize("contract", OF_AN_ORDER)
@pytest.mark.parametrize(
    "changed",
    [
        *({"customerEmail": each} for each in ("ada@x.example\r\nBcc: all@x.example", "ada", "", "a@b@c", "a b@c")),
        *({"currency": each} for each in ("XXX", "gbp", "GBP\n", "")),
        *({"totalAmount": each} for each in (Decimal("-0.01"), Decimal("1E+12"), Decimal("0.00001"), "NaN", None)),
        *({"customerId": each} for each in ("", "c\n1", "c" * 65)),
        *({"items": [ITEM | each]} for each in ({"unitPrice": -1}, {"quantity": 0}, {"quantity": 2**31})),
        *({"items": [ITEM | each]} for each in ({"productId": ""}, {"productId": "a\nb"}, {"productName": "a\u2028b"})),
    ],
    ids=repr,
)
def test_what_no_shop_means_is_refused(contract: type[Event], changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        contract.model_validate(ORDER | changed)


@pytest.mark.parametrize(
    ("contract", "changed"),
    [
        (OrderCreated, {"createdAt": "2026-02-01T00:00:00"}),
        (OrderCreated, {"createdAt": 1769904000}),
        (OrderCreated, {"shippingAddress": ADDRESS | {"country": "XX"}}),
        (OrderCreated, {"shippingAddress": ADDRESS | {"city": "Bristol\nLondon"}}),
        (OrderCreated, {"items": []}),
        *((OrderCreated, {"customer": CUSTOMER | each}) for each in ({"id": ""}, {"email": "ada"}, {"id": None})),
        *(
            (OrderCreated, {"adjustments": [TAX | each]})
            for each in ({"kind": "bribe"}, {"label": "a\nb"}, {"amount": -1})
        ),
        (OrderConfirmed, {"adjustments": [TAX | {"kind": "discount"}]}),
        (OrderShipped, {"adjustments": [TAX | {"amount": "1"}]}),
        (OrderRejected, {"shortages": [{"productId": "jug", "requested": 1, "available": -1}]}),
        (OrderCancelled, {"reason": "requested\r\nBcc: all@x.example"}),
        (OrderShipped, {"carrier": ""}),
        (OrderShipped, {"trackingNumber": "1\n2"}),
    ],
)
def test_each_contract_has_its_own(contract: type[Event], changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        contract.model_validate(ORDER | changed)
