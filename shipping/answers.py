"""What the API answers about shipments, for its document."""

from datetime import date, datetime
from typing import Any

from pydantic import ConfigDict

from eventbus import Contract
from shipping.models import State

_SHIPMENT: Any = {
    "orderId": "01a21ab8-8af7-7235-b185-814cfa29344d",
    "status": "DISPATCHED",
    "items": [{"productId": "desk-lamp", "quantity": 2}],
    "address": {"street": "12 Harbour Road", "city": "Bristol", "state": "", "postalCode": "BS1 4RN", "country": "GB"},
    "carrier": "Fast Parcel",
    "trackingNumber": "FP-4711",
    "estimatedDelivery": "2026-12-02",
    "dispatchedAt": "2026-11-27T02:06:49.716Z",
}


class ParcelItem(Contract):
    """So many of a product."""

    product_id: str
    quantity: int


class ParcelAddress(Contract):
    """Where a parcel goes."""

    street: str
    city: str
    state: str
    postal_code: str
    country: str


class ShipmentAnswer(Contract):
    """The parcel of an order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SHIPMENT]})

    order_id: str
    status: State
    items: list[ParcelItem]
    address: ParcelAddress
    carrier: str
    tracking_number: str
    estimated_delivery: date
    dispatched_at: datetime
