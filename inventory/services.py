"""The verbs of inventory."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from django.db import connection, transaction

from eventbus import Event, PermanentFailure, expect_version, publish, single_statement
from inventory.allocation import Decision, Request, StockLevel, decide
from inventory.events import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    ReservedItem,
    StockCorrected,
    StockLow,
    StockReceived,
    StockReleased,
    StockReserved,
    StockShipped,
)
from inventory.models import ReservationState, Stock

STATE = {True: ReservationState.RESERVED.value, False: ReservationState.REFUSED.value}

# In one fixed order, whatever order the baskets have: two transactions can then wait for each other only one way round.
LOCK = """
SELECT product_id, available, low_threshold FROM inventory_stock
WHERE product_id = ANY(%s::text[]) ORDER BY product_id FOR UPDATE
"""
DECIDED = "SELECT DISTINCT order_id FROM inventory_reservation WHERE order_id = ANY(%s::uuid[])"
TAKE = """
UPDATE inventory_stock AS stock
SET available = stock.available - taken.quantity, reserved = stock.reserved + taken.quantity
FROM unnest(%s::text[], %s::bigint[]) AS taken(product_id, quantity)
WHERE stock.product_id = taken.product_id
"""
NOTE = """
INSERT INTO inventory_reservation (order_id, product_id, quantity, state)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::text[])
"""
# Rows of an order that was decided on stay as they are. Whoever decides at this moment is waited for.
TOMBSTONE = """
INSERT INTO inventory_reservation (order_id, product_id, quantity, state)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::text[]) ORDER BY 1, 2
ON CONFLICT (order_id, product_id) DO NOTHING
"""
CLOSE = """
UPDATE inventory_reservation SET state = %s WHERE order_id = ANY(%s::uuid[]) AND state = %s
RETURNING order_id, product_id, quantity
"""
GIVE_BACK = """
UPDATE inventory_stock AS stock
SET available = stock.available + back.quantity, reserved = stock.reserved - back.quantity
FROM unnest(%s::text[], %s::bigint[]) AS back(product_id, quantity)
WHERE stock.product_id = back.product_id
"""
WRITE_OFF = """
UPDATE inventory_stock AS stock
SET shipped = stock.shipped + gone.quantity, reserved = stock.reserved - gone.quantity
FROM unnest(%s::text[], %s::bigint[]) AS gone(product_id, quantity)
WHERE stock.product_id = gone.product_id
"""
STATES = """
SELECT order_id, array_agg(DISTINCT state) FROM inventory_reservation WHERE order_id = ANY(%s::uuid[]) GROUP BY 1
"""


class NotReserved(PermanentFailure):
    """Something was shipped that was not set aside: the stock cannot be right."""


class UnknownProduct(Exception):
    """Of this product nothing was ever received."""


class BelowReserved(Exception):
    """A count found less than is set aside: orders that are confirmed could not be delivered."""

    def __init__(self, product_id: str, counted: int, reserved: int) -> None:
        super().__init__(
            f"{counted} of {product_id} cannot be: {reserved} are set aside for orders. "
            "Look again, or cancel orders of it first."
        )


class BlankProduct(Exception):
    """An id of spaces only names nothing that anyone could order."""

    def __init__(self) -> None:
        super().__init__("A product's id is not only spaces.")


class NamelessProduct(Exception):
    """The first receipt of a product has to say what it is called."""

    def __init__(self, product_id: str) -> None:
        super().__init__(f"{product_id} is new here: give its name with its first receipt.")


def receive_stock(*, product_id: str, product_name: str | None = None, quantity: int) -> Stock:
    """Put goods on the shelf and announce them; returns the stock as it is then.

    A name that differs from the known one replaces it. Raises BlankProduct, NamelessProduct for a new product without a
    name, and pydantic.ValidationError for a quantity or an id that no event can carry.
    """
    if not product_id.strip():
        raise BlankProduct
    with transaction.atomic():
        # Two first receipts at once: one inserts, the other waits for it and adds to it.
        if product_name:
            Stock.objects.bulk_create([Stock(product_id=product_id, product_name=product_name)], ignore_conflicts=True)
        stock = Stock.objects.select_for_update().filter(product_id=product_id).first()
        if stock is None:
            raise NamelessProduct(product_id)
        stock.product_name = product_name or stock.product_name
        event = StockReceived(product_id=product_id, product_name=stock.product_name, quantity=quantity)
        stock.available += quantity
        stock.received += quantity
        stock.save(update_fields=["product_name", "available", "received"])
        publish(event)
    return stock


def correct_stock(*, product_id: str, counted: int, expected: int, reason: str) -> Stock:
    """Make the books say what a count found on the shelf, which is what is available and what is set aside, and
    announce it; returns the stock as it is then.

    `expected` is the number of the product's last event when it was counted. Raises UnknownProduct, BelowReserved, and
    StreamConflict where anything happened to the product since.
    """
    with transaction.atomic(), single_statement():
        stock = Stock.objects.select_for_update().filter(product_id=product_id).first()
        if stock is None:
            raise UnknownProduct(product_id)
        expect_version(StockCorrected, product_id, expected)
        if counted < stock.reserved:
            raise BelowReserved(product_id, counted, stock.reserved)
        before = stock.available
        stock.available = counted - stock.reserved
        stock.received += stock.available - before
        stock.save(update_fields=["available", "received"])
        difference = stock.available - before
        publish(StockCorrected(product_id=product_id, counted=counted, difference=difference, reason=reason))
        if stock.available < stock.low_threshold <= before:
            publish(StockLow(product_id=product_id, available=stock.available, threshold=stock.low_threshold))
    return stock


def reserve_stock(requests: Sequence[Request]) -> None:
    """Decide on orders in the order given: each gets everything it asks for, or nothing, and an event tells which.

    An order that was decided on before is left out. The number of statements doesn't grow with the orders or their
    lines. For handlers: runs in the bus's transaction or one of its own, never in a savepoint.
    """
    with transaction.atomic(savepoint=False):
        levels = _lock({product_id for request in requests for product_id in request.wanted})
        plan = decide(_undecided(requests), levels)
        _take(plan.taken)
        _note(NOTE, [(decision.request, STATE[decision.granted]) for decision in plan.decisions])
        for decision in plan.decisions:
            publish(_outcome(decision), caused_by=decision.request.cause)
            if decision.granted:
                _publish_moves(StockReserved, decision.request, decision.request.wanted)
        for low in plan.low:
            event = StockLow(product_id=low.product_id, available=low.available, threshold=low.threshold)
            publish(event, caused_by=low.request.cause)


def release_stock(requests: Sequence[Request]) -> None:
    """Put back what cancelled orders had set aside, and announce it. An order that was not decided on yet is kept from
    being so. The number of statements doesn't grow with the orders. For handlers, as reserve_stock."""
    with transaction.atomic(savepoint=False):
        _lock({product_id for request in requests for product_id in request.wanted})
        _note(TOMBSTONE, [(request, ReservationState.CANCELLED.value) for request in requests])
        released = _close(requests, ReservationState.RELEASED, GIVE_BACK)
        for request in requests:
            if items := released.pop(request.order_id, None):
                publish(InventoryReleased(order_id=request.order_id, items=_items(items)), caused_by=request.cause)
                _publish_moves(StockReleased, request, items)


def ship_stock(requests: Sequence[Request]) -> None:
    """Write off what was set aside for orders that have left the house. Those that are written off already are left
    out. For handlers, as reserve_stock. Raises NotReserved, with nothing done, where nothing was set aside."""
    with transaction.atomic(savepoint=False):
        _lock({product_id for request in requests for product_id in request.wanted})
        shipped = _close(requests, ReservationState.SHIPPED, WRITE_OFF)
        with connection.cursor() as cursor:
            cursor.execute(STATES, [[request.order_id for request in requests]])
            states = dict(cursor.fetchall())
        for request in requests:
            if states.get(request.order_id) != [ReservationState.SHIPPED]:
                found = states.get(request.order_id, "no reservation")
                raise NotReserved(f"Order {request.order_id} was shipped, and inventory has {found} of it.")
            if items := shipped.pop(request.order_id, None):
                _publish_moves(StockShipped, request, items)


def _publish_moves(
    contract: type[StockReserved | StockReleased | StockShipped], request: Request, quantities: Mapping[str, int]
) -> None:
    """Tell it in the streams of the products, whose stock is locked: so their order there is that of the changes."""
    moves = (
        contract(product_id=product_id, order_id=request.order_id, quantity=quantity)
        for product_id, quantity in quantities.items()
    )
    publish(*moves, caused_by=request.cause)


def _close(requests: Sequence[Request], to: ReservationState, change: str) -> dict[UUID, Counter[str]]:
    """End the open reservations of these orders and change the stock accordingly; returns what each order had."""
    ended: dict[UUID, Counter[str]] = defaultdict(Counter)
    with connection.cursor() as cursor:
        cursor.execute(CLOSE, [to, [request.order_id for request in requests], ReservationState.RESERVED])
        for order_id, product_id, quantity in cursor.fetchall():
            ended[order_id][product_id] += quantity
        if ended:
            total = sum(ended.values(), Counter[str]())
            cursor.execute(change, [list(total), list(total.values())])
    return ended


def _lock(product_ids: Iterable[str]) -> dict[str, StockLevel]:
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [list(product_ids)])
        return {product_id: StockLevel(available, threshold) for product_id, available, threshold in cursor.fetchall()}


def _undecided(requests: Sequence[Request]) -> list[Request]:
    """The first request of each order that has no decision yet. Asked after the locks are held: only then is the
    decision of a transaction that we waited for visible."""
    first = {request.order_id: request for request in reversed(requests)}
    with connection.cursor() as cursor:
        cursor.execute(DECIDED, [list(first)])
        for (order_id,) in cursor.fetchall():
            del first[order_id]
    return list(reversed(first.values()))


def _take(taken: Mapping[str, int]) -> None:
    if not taken:
        return
    with connection.cursor() as cursor:
        cursor.execute(TAKE, [list(taken), list(taken.values())])


def _note(statement: str, states: Sequence[tuple[Request, str]]) -> None:
    rows = [
        (request.order_id, product_id, quantity, state)
        for request, state in states
        for product_id, quantity in request.wanted.items()
    ]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def _outcome(decision: Decision) -> Event:
    order_id = decision.request.order_id
    if not decision.granted:
        return InventoryReservationFailed(order_id=order_id, reason=decision.reason, shortages=decision.shortages)
    return InventoryReserved(order_id=order_id, items=_items(decision.request.wanted))


def _items(quantities: Mapping[str, int]) -> tuple[ReservedItem, ...]:
    return tuple(ReservedItem(product_id=product_id, quantity=quantity) for product_id, quantity in quantities.items())
