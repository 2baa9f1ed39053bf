"""What a product's stock was at a moment or at a place in its stream: a snapshot, and the few events behind it.

A moment is a place, too: the last one before which nothing occurred later. So clocks that differ a little between
machines change no answer, and neither does it matter which snapshots there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from eventbus.archive import ids_of_months, last_events_of
from inventory.history import CHANGES, CHANGING, EVENTS, NAMES, NOTHING, Quantities, after

#: How far clocks may lie apart.
SLACK = timedelta(hours=1)
LAST_SEQUENCE = 2**31 - 1

_SNAPSHOTS = """
SELECT stock.product_name, past.sequence, past.as_of, coalesce(past.available, 0), coalesce(past.reserved, 0),
       coalesce(past.shipped, 0), next.sequence, next.as_of
FROM inventory_stock AS stock
LEFT JOIN LATERAL (
    SELECT * FROM inventory_stocksnapshot WHERE product_id = stock.product_id AND {place} <= %(place)s
    ORDER BY {place} DESC, sequence DESC LIMIT 1
) AS past ON true
LEFT JOIN LATERAL (
    SELECT * FROM inventory_stocksnapshot WHERE product_id = stock.product_id AND {place} > %(place)s
    ORDER BY {place}, sequence LIMIT 1
) AS next ON true
WHERE stock.product_id = %(product_id)s
"""
# The ids stand in the text: in a statement that is planned once for all parameters, no month could be left out of the
# plan, and it takes three times as long. There are as many texts as pairs of months, so each is still prepared.
_EVENTS = f"""
SELECT min(sequence), max(sequence) FILTER (WHERE happened), count(*) FILTER (WHERE happened),
       {", ".join(f"coalesce(sum({name}) FILTER (WHERE happened), 0)::bigint" for name in NAMES)}
FROM (
    SELECT sequence, {{happened}} AS happened,
           {CHANGES}
    FROM {EVENTS} AS told
    WHERE aggregate_id = %(product_id)s AND sequence > %(after)s AND sequence <= %(upto)s
      AND id >= '{{first_id}}' AND id < '{{last_id}}'
) AS read
"""


class _By(NamedTuple):
    """The two statements of a look-up: by moment or by number."""

    snapshots: str
    events: str


def _by(place: str, happened: str) -> _By:
    events = _EVENTS.format(happened=happened, first_id="{first_id}", last_id="{last_id}")
    return _By(_SNAPSHOTS.format(place=place), events)


_MOMENT = _by("as_of", "max(occurred_at) OVER (ORDER BY sequence) <= %(place)s")
_SEQUENCE = _by("sequence", "sequence <= %(place)s")


class HistoryBegins(Exception):
    """What is asked for was before the product's history begins."""

    def __init__(self, product_id: str, begins: datetime) -> None:
        super().__init__(f"The history of {product_id} begins at {begins:%Y-%m-%dT%H:%M:%S.%fZ}: ask from then on.")
        self.begins = begins


class HistoryBroken(Exception):
    """Events are missing from the middle of a product's stream."""

    def __init__(self, product_id: str) -> None:
        super().__init__(f"The history of {product_id} has a gap: manage.py verify_pipeline says where.")


@dataclass(frozen=True, slots=True)
class Past:
    """A product's stock after the event of that number."""

    product_name: str
    sequence: int
    stock: Quantities


def stock_as_of(product_id: str, moment: datetime) -> Past | None:
    """The stock after all that had occurred by this moment, the moment included; None if the product wasn't known then.

    Raises HistoryBegins or HistoryBroken where the events don't tell.
    """
    return _look_up(product_id, moment, _MOMENT)


def stock_at(product_id: str, sequence: int) -> Past | None:
    """The stock after the event of this number, as stock_as_of."""
    return _look_up(product_id, sequence, _SEQUENCE)


def _look_up(product_id: str, place: datetime | int, by: _By) -> Past | None:
    with connection.cursor() as cursor:
        cursor.execute(by.snapshots, {"product_id": product_id, "place": place})
        row = cursor.fetchone()
        if row is None:
            return None
        name, start, start_as_of, *quantities, upto, next_as_of = row
        first_id, last_id = _ids_between(start_as_of, place)
        params = {"product_id": product_id, "place": place, "after": start or 0, "upto": upto or LAST_SEQUENCE}
        cursor.execute(by.events.format(first_id=first_id, last_id=last_id), params)
        first, last, count, *change = cursor.fetchone()
    if start is None:
        if next_as_of is not None and first != 1:
            raise HistoryBegins(product_id, next_as_of)
        if last is None:
            return None
        start = 0
    if last is None:
        return Past(name, start, Quantities(*quantities))
    if last - start != count:
        raise HistoryBroken(product_id)
    return Past(name, last, Quantities(*map(sum, zip(quantities, change, strict=True))))


def _ids_between(start: datetime | None, place: datetime | int) -> tuple[UUID, UUID]:
    """Within which ids the events behind the snapshot of that time are. Where there is none, all are looked at: whether
    the product's first event is archived tells one that wasn't known yet from one whose history begins later."""
    if start is None:
        return ids_of_months()
    return ids_of_months(start - SLACK, place + SLACK if isinstance(place, datetime) else None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a product's ledger. `told` is what the event says beside its product, `balance` what it left.

    There is no balance where history begins only later: a clock that was ahead can keep an event in the archive while
    those after it are pruned.
    """

    sequence: int
    event_id: UUID
    event_type: str
    occurred_at: datetime
    told: str
    balance: Quantities | None


def ledger(product_id: str, *, before: int = LAST_SEQUENCE, limit: int) -> list[Entry]:
    """The last movements before that number, newest first, each with the stock that it left. Raises HistoryBroken."""
    entries: list[Entry] = []
    balance: Quantities | None = None
    for event in reversed(last_events_of(product_id, CHANGING, before=before, limit=limit)):
        if balance is None:
            balance = _balance_before(product_id, event["sequence"])
        if balance is not None:
            balance = after(balance, event["eventType"], event["data"])
        entries.append(_entry(event, balance))
    return entries[::-1]


def _entry(event: Mapping[str, Any], balance: Quantities | None) -> Entry:
    said = {name: value for name, value in event["data"].items() if name not in ("productId", "productName")}
    return Entry(
        sequence=event["sequence"],
        event_id=UUID(event["eventId"]),
        event_type=event["eventType"],
        occurred_at=datetime.fromisoformat(event["occurredAt"]),
        told=", ".join(f"{name} {value}" for name, value in said.items()),
        balance=balance,
    )


def _balance_before(product_id: str, sequence: int) -> Quantities | None:
    try:
        past = stock_at(product_id, sequence - 1)
    except HistoryBegins:
        return None
    return past.stock if past else NOTHING
