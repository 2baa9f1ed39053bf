"""A product's stock as what its events add up to, in Python and in SQL, from one table of what each event does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from eventbus import Event
from eventbus.archive import archived_streams
from inventory.events import (
    StockCorrected,
    StockReceived,
    StockReleased,
    StockReserved,
    StockShipped,
)


@dataclass(frozen=True, slots=True)
class Quantities:
    """How much of a product can be sold, is set aside, and has left the house."""

    available: int = 0
    reserved: int = 0
    shipped: int = 0


NOTHING = Quantities()
#: The quantities by name, as fields here and as columns in SQL.
NAMES = ("available", "reserved", "shipped")


class Move(NamedTuple):
    """How the amount in this field of an event's data counts for each quantity: 1, -1, or 0 for not at all."""

    amount: str
    available: int = 0
    reserved: int = 0
    shipped: int = 0


#: All that changes a product's stock. Its stream has other events as well.
CHANGING: Mapping[type[Event], Move] = {
    StockReceived: Move("quantity", available=1),
    StockReserved: Move("quantity", available=-1, reserved=1),
    StockReleased: Move("quantity", available=1, reserved=-1),
    StockShipped: Move("quantity", reserved=-1, shipped=1),
    StockCorrected: Move("difference", available=1),
}
MOVES = {contract.type: move for contract, move in CHANGING.items()}


def after(stock: Quantities, event_type: str, data: Mapping[str, Any]) -> Quantities:
    """The stock after one more event; the same for an event that does not change it."""
    move = MOVES.get(event_type)
    if move is None:
        return stock
    amount = data[move.amount]
    return Quantities(
        stock.available + move.available * amount,
        stock.reserved + move.reserved * amount,
        stock.shipped + move.shipped * amount,
    )


def fold(events: Iterable[tuple[str, Mapping[str, Any]]], start: Quantities = NOTHING) -> Quantities:
    """The stock after all of these events, given as type and data in the order of the stream."""
    for event_type, data in events:
        start = after(start, event_type, data)
    return start


def _change(quantity: str) -> str:
    signs = {1: "", -1: "-"}
    cases = [
        f"WHEN '{event_type}' THEN {signs[sign]}(data->>'{move.amount}')::bigint"
        for event_type, move in MOVES.items()
        if (sign := getattr(move, quantity))
    ]
    return f"CASE type {' '.join(cases)} ELSE 0 END AS {quantity}"


#: SQL: all that happened to products, and what each of these events adds to each quantity.
EVENTS = archived_streams(StockReceived)
CHANGES = ",\n       ".join(_change(quantity) for quantity in NAMES)
