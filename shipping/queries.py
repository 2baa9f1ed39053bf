"""Reads of shipping."""

from typing import Any
from uuid import UUID

from shipping.models import Shipment, State

#: Counted no further than this: for a number beside a link.
COUNTED = 1_000
#: SQL: how many parcels are ready to go.
READY = f"(SELECT count(*) FROM (SELECT FROM shipping_shipment WHERE state = '{State.PREPARED}' LIMIT {COUNTED}) few)"


def shipment_of(order_id: UUID) -> dict[str, Any] | None:
    """An order's parcel; None where nothing is known of one."""
    found = Shipment.objects.filter(pk=order_id).first()
    return (
        as_data(found) | {"stateInWords": found.get_state_display(), "createdAt": found.created_at} if found else None
    )


def ready(*, limit: int) -> list[dict[str, Any]]:
    """Parcels that are ready to go, those of the oldest orders first."""
    return [as_data(each) for each in Shipment.objects.filter(state=State.PREPARED).order_by("order_id")[:limit]]


def with_tracking_number(number: str, *, limit: int) -> list[dict[str, Any]]:
    """The parcels that go under this number."""
    if not number:
        return []
    return [as_data(each) for each in Shipment.objects.filter(tracking_number=number).order_by("-order_id")[:limit]]


def as_data(shipment: Shipment) -> dict[str, Any]:
    """A shipment in the API's shape."""
    return {
        "orderId": shipment.order_id,
        "status": shipment.state,
        "items": shipment.items,
        "address": shipment.address,
        "carrier": shipment.carrier,
        "trackingNumber": shipment.tracking_number,
        "estimatedDelivery": shipment.estimated_delivery,
        "dispatchedAt": shipment.dispatched_at,
    }
