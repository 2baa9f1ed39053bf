"""What a webhook may listen to, and where the API tells more of it."""

from django.urls import reverse

from eventbus import Event
from inventory.events import StockCorrected, StockLow, StockReceived
from orders.events import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderShipped,
    OrderStatusChanged,
)

#: The events, in their newest versions. Those of an order are told to the channel that placed it, those of a product to
#: everybody: whoever has a token may read the stock.
OFFERED: tuple[type[Event], ...] = (
    OrderCreated,
    OrderConfirmed,
    OrderRejected,
    OrderCancelled,
    OrderShipped,
    OrderStatusChanged,
    StockReceived,
    StockCorrected,
    StockLow,
)
BY_TYPE = {contract.type: contract for contract in OFFERED}
#: Whose event it is stands in this one, of the same thing.
PLACED = OrderCreated
#: What is for staff alone. Who could filter by it would find it out.
_HIDDEN: dict[type[Event], set[str]] = {StockCorrected: {"reason"}}
#: By what an event happened to: the name of the address, and of the id in it.
_TOLD_AT = {"order": ("order", "order_id"), "product": ("stock-detail", "product_id")}


def address_of(aggregate_type: str, aggregate_id: str) -> str:
    """Where the API tells how this thing is now: a path on its host."""
    name, parameter = _TOLD_AT[aggregate_type]
    return reverse(name, kwargs={parameter: aggregate_id})


def fields_of(event_types: list[str]) -> set[str]:
    """The fields that the data of all of these have, by which it can be filtered."""
    contracts = [BY_TYPE[kind] for kind in event_types]
    found = [
        {each.alias or name for name, each in contract.model_fields.items()} - _HIDDEN.get(contract, set())
        for contract in contracts
    ]
    return set.intersection(*found) if found else set()
