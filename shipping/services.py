"""The verbs of shipping."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from eventbus import PermanentFailure, database_time, encode_json, lock_streams, publish
from orders.events import OrderCancelled
from shipping.events import ShipmentDispatched
from shipping.models import Shipment, State

#: A parcel that would travel longer is a typing error.
LONGEST_JOURNEY = timedelta(days=366)
#: Where days begin last: what is today there may be yesterday in UTC.
BEHIND_UTC = timedelta(hours=12)

# Sorted, so that two batches with the same orders cannot deadlock. What is ready, gone or called off stays as it is.
PREPARE = """
INSERT INTO shipping_shipment AS known (order_id, address, items, state)
SELECT order_id, address, items, CASE WHEN address IS NULL OR items IS NULL THEN 'WAITING' ELSE 'PREPARED' END
FROM unnest(%s::uuid[], %s::jsonb[], %s::jsonb[]) AS t(order_id, address, items) ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE
    SET address = coalesce(known.address, EXCLUDED.address), items = coalesce(known.items, EXCLUDED.items),
        state = CASE WHEN coalesce(known.address, EXCLUDED.address) IS NULL
                       OR coalesce(known.items, EXCLUDED.items) IS NULL THEN 'WAITING' ELSE 'PREPARED' END
    WHERE known.state = 'WAITING'
"""
# The address is forgotten: nobody needs it any more.
CALL_OFF = """
INSERT INTO shipping_shipment AS known (order_id, state)
SELECT order_id, 'CALLED_OFF' FROM unnest(%s::uuid[]) AS t(order_id) ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET state = 'CALLED_OFF', address = NULL WHERE known.state <> 'DISPATCHED'
RETURNING order_id
"""


class NoShipment(Exception):
    """There is no parcel for this order."""


class CannotDispatch(Exception):
    """The parcel is not ready, gone already, or its order was cancelled."""


class ImplausibleDelivery(Exception):
    """A parcel that leaves now cannot arrive on that day."""


class AlreadyGone(PermanentFailure):
    """An order was called off whose parcel has left the house: an event that shipping was not asked about."""


@dataclass(slots=True)
class ShipmentParts:
    """What is known of a parcel: where it goes, what is in it, or both."""

    order_id: UUID
    address: dict[str, Any] | None = None
    items: list[dict[str, Any]] | None = None


def prepare_shipments(known: Sequence[ShipmentParts]) -> None:
    """Keep what is known; a parcel of which both parts are known is ready to go. For handlers."""
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        columns: list[list[Any]] = [
            [parts.order_id for parts in known],
            [_as_json(parts.address) for parts in known],
            [_as_json(parts.items) for parts in known],
        ]
        cursor.execute(PREPARE, columns)


def _as_json(value: Any) -> str | None:
    return None if value is None else encode_json(value).decode()


def call_off(order_ids: Collection[UUID]) -> None:
    """See to it that the parcels of these orders are never sent, also those that are not known yet. For handlers.

    Raises AlreadyGone, with nothing done, if one has left the house.
    """
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(CALL_OFF, [list(order_ids)])
        gone = set(order_ids) - {order_id for (order_id,) in cursor.fetchall()}
        if gone:
            raise AlreadyGone(f"Dispatched, and now called off: {', '.join(map(str, gone))}. Get the parcels back.")


def dispatch(*, order_id: UUID, carrier: str, tracking_number: str, estimated_delivery: date) -> Shipment:
    """Send a parcel off: when this returns its order can no longer be cancelled. Saying the same again changes nothing.

    Raises NoShipment, ImplausibleDelivery for a day that has been or is more than a year away, or CannotDispatch where
    the parcel is not ready, went another way, or the order was cancelled.
    """
    how = {"carrier": carrier, "tracking_number": tracking_number, "estimated_delivery": estimated_delivery}
    with transaction.atomic():
        shipment = Shipment.objects.select_for_update().filter(pk=order_id).first()
        if shipment is None:
            raise NoShipment(f"There is no shipment of order {order_id}.")
        if shipment.state == State.DISPATCHED and all(getattr(shipment, name) == value for name, value in how.items()):
            return shipment
        if shipment.state != State.PREPARED:
            raise CannotDispatch(f"The shipment is {shipment.get_state_display()}, not {State.PREPARED.label}.")
        check_delivery(estimated_delivery)
        # The cancellation may be on its way to us. See docs/decisions/0008.
        if lock_streams([order_id], having=OrderCancelled):
            raise CannotDispatch("The order was cancelled: its shipment is about to be called off.")
        Shipment.objects.filter(pk=order_id).update(state=State.DISPATCHED, dispatched_at=database_time(), **how)
        publish(ShipmentDispatched(order_id=order_id, **how))
        shipment.refresh_from_db()
    return shipment


def check_delivery(day: date) -> None:
    """Raises ImplausibleDelivery for a day on which a parcel that leaves now can't arrive."""
    now = database_time()
    if day < (now - BEHIND_UTC).date():
        raise ImplausibleDelivery(f"{day} has been: a parcel that leaves now arrives today or later.")
    if day > (now + LONGEST_JOURNEY).date():
        raise ImplausibleDelivery(f"{day} is more than a year away.")
