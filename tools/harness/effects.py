"""The checker of effects: what a channel was told, against what is in the database and in its customers' mailboxes.

The invariants that it checks:

- I1 every accepted order is there once, and no other, in a state that will not change by itself
- I2 per product: received = available + reserved + shipped, none below zero, and each as the orders asked for it
- I3 every event had its effect exactly once at every consumer
- I4 every order's customer has at most one mail of each kind, and one where nobody has to doubt it
- I5 nothing is in limbo
- I6 every order went one legal way
- I7 no answer 5xx but 503 with Retry-After
- I8 all is settled in time: `settle`
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.message import Message
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg

from eventbus.contracts.versions import ROUTING_KEY
from eventbus.ids import FROM_THE_START
from eventbus.monitoring import deliveries
from script._lib.waiting import wait_until
from tools.harness.laboratory import Laboratory
from tools.harness.mail import by_customer
from tools.harness.shop import Shop, Wish

MOVES = ["order.created", "order.confirmed", "order.rejected", "order.cancelled", "order.shipped"]
#: The ways to each end. The first one is the only one for who keeps no history.
LEGAL = {
    "CONFIRMED": [["order.created", "order.confirmed"]],
    "REJECTED": [["order.created", "order.rejected"]],
    "CANCELLED": [["order.created", "order.cancelled"], ["order.created", "order.confirmed", "order.cancelled"]],
    "SHIPPED": [["order.created", "order.confirmed", "order.shipped"]],
}
#: What an order in this status has of the stock.
HAS = {"CONFIRMED": "RESERVED", "SHIPPED": "SHIPPED"}
#: Every end of an order has its mail, and so has each step to it that the customer should know of.
MAIL_FOR = {
    "order.confirmed": "confirmation",
    "order.rejected": "apology",
    "order.shipped": "tracking",
    "order.cancelled": "cancellation",
}

ORDERS = """
SELECT o.customer_email, o.id, o.status, o.updated_at,
       coalesce(array_agg(e.type ORDER BY e.sequence) FILTER (WHERE e.type = ANY(%s)), '{}'),
       min(e.occurred_at) FILTER (WHERE e.type IN ('order.confirmed', 'order.rejected')),
       coalesce(bool_or(e.type = 'order.cancelled' AND e.data->>'cancelledBy' = 'deadline'), false)
FROM orders_order o LEFT JOIN event e ON e.aggregate_id = o.id::text
WHERE o.channel_id = %s GROUP BY o.id ORDER BY o.id
"""
TAKEN = """
SELECT order_id, r.state, product_id, sum(quantity)::int
FROM inventory_reservation r JOIN orders_order o ON o.id = order_id
WHERE o.channel_id = %s AND r.state IN ('RESERVED', 'SHIPPED') GROUP BY 1, 2, 3
"""
STOCK = "SELECT product_id, received, available, reserved, shipped FROM inventory_stock WHERE product_id = ANY(%s)"
MAILS = """
SELECT order_id, kind, state, sent_at FROM notifications_mail m JOIN orders_order o ON o.id = order_id
WHERE o.channel_id = %s
"""
# A dead letter has no effect; where none are expected, it is a loss.
MISCOUNTED = """
WITH rows AS ({rows}), due AS (
    SELECT s.consumer, e.id AS event_id
    FROM subscription s JOIN event e ON s.routing_key = {routing_key} AND e.occurred_at >= s.since
    UNION SELECT consumer, event_id FROM rows
    UNION SELECT consumer, event_id FROM processed_event WHERE outcome = 'done'
)
SELECT coalesce(e.aggregate_id, ''), coalesce(e.type, 'an event'), due.consumer, due.event_id, count(rows.event_id)::int
FROM due LEFT JOIN event e ON e.id = due.event_id
LEFT JOIN processed_event p ON p.event_id = due.event_id AND p.consumer = due.consumer
LEFT JOIN rows ON rows.event_id = due.event_id AND rows.consumer = due.consumer
WHERE due.consumer ~ %s
GROUP BY 1, 2, 3, 4, p.outcome
HAVING count(rows.event_id) <> CASE WHEN coalesce(p.outcome = 'done', false) OR NOT %s THEN 1 ELSE 0 END
"""
# One statement, as an event goes from the one to the other meanwhile.
UNSETTLED = f"""
(SELECT 'outbox', aggregate_id, event_id FROM outbox LIMIT 5)
UNION ALL (SELECT consumer, aggregate_id, event_id FROM waiting_retry LIMIT 5)
UNION ALL (SELECT m.consumer, m.type, m.id FROM ({deliveries.MISSING}) AS m)
"""
# Whatever goes on: an event recorded, an event handled, a mail on its way.
PULSE = """
SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM processed_event), (SELECT count(*) FROM outbox),
       (SELECT count(*) FROM orders_order WHERE status <> 'CREATED'),
       (SELECT json_object_agg(state, n)::text FROM (SELECT state, count(*) n FROM notifications_mail GROUP BY 1) m)
"""


@dataclass(frozen=True)
class Counting:
    """Consumers that leave a row per event and have nothing of their own against repeats: they show what the bus does,
    where the product's are idempotent by their rows as well."""

    #: Their names, as a regular expression.
    consumers: str
    #: A query of `consumer` and `event_id`.
    rows: str
    dead_letters_expected: bool = False


@dataclass(frozen=True)
class Trouble:
    """A fault that struck, from one moment to another."""

    what: str
    began: float
    until: float
    #: Whether it took away what every order needs, so that waiting is no fault of the product's.
    is_outage: bool = False
    #: The products and orders of which it kept a row locked.
    locked: Collection[str] = ()

    def meets(self, began: float, until: float) -> bool:
        return self.began < until and self.until > began


@dataclass(frozen=True)
class Wait:
    """From the 201 to the order's end, in seconds, and what struck meanwhile."""

    seconds: float = 0.0
    customer: str = ""
    during: Sequence[str] = ()


@dataclass(frozen=True)
class Waits:
    """How long orders waited from their 201 until they were confirmed or rejected, those aside that were called off.

    `longest_otherwise` leaves out `behind_a_lock`, the orders of which a fault kept a row locked meanwhile, and
    `in_an_outage`, those during which web, PostgreSQL or RabbitMQ was down. `longest_answer`: until the 201.
    """

    longest: Wait
    longest_otherwise: Wait
    behind_a_lock: int
    in_an_outage: int
    longest_answer: float


@dataclass
class Verdict:
    """The sum of it. An order counts once in each column that it belongs to."""

    attempted: int = 0
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    recovered: int = 0
    limbo: int = 0
    faults: int = 0
    #: Mails of which nobody can know whether they arrived: docs/decisions/0006.
    in_doubt: int = 0
    drained_after: float | None = None
    #: What is wrong, in words.
    findings: list[str] = field(default_factory=list)
    #: How long orders waited for their end.
    waits: Waits | None = None

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.limbo or self.findings)

    def line(self) -> str:
        """The columns as JSON."""
        names = ("attempted", "accepted", "lost", "doubled", "recovered", "limbo", "faults")
        return json.dumps({name: getattr(self, name) for name in names})

    def count(self, column: str, what: str) -> None:
        setattr(self, column, getattr(self, column) + 1)
        self.findings.append(f"{column}: {what}")


@dataclass(frozen=True)
class Order:
    """An order as the product has it."""

    id: UUID
    status: str
    updated_at: datetime
    history: list[str]
    #: When it was confirmed or rejected, where events tell.
    answered_at: datetime | None = None
    timed_out: bool = False


@dataclass(frozen=True)
class Miscount:
    """An event with more effects at a consumer, or fewer, than it should have."""

    aggregate_id: str
    event_type: str
    consumer: str
    event_id: UUID
    effects: int

    @property
    def column(self) -> str:
        return "doubled" if self.effects else "lost"

    def __str__(self) -> str:
        return f"I3: {self.event_type} {self.event_id} had its effect {self.effects} times at {self.consumer}"


@dataclass(frozen=True)
class Evidence:
    """What the product did for one channel."""

    orders: dict[str, list[Order]]
    #: By order and state of the reservation: how much of which product.
    taken: dict[tuple[UUID, str], dict[str, int]]
    stock: list[tuple[str, int, int, int, int]]
    mails: dict[UUID, list[tuple[str, str, datetime | None]]]
    miscounted: list[Miscount]
    arrived: Counter[tuple[str, str]]

    @property
    def statuses(self) -> dict[UUID, str]:
        return {order.id: order.status for orders in self.orders.values() for order in orders}


def gather(lab: Laboratory, shop: Shop, mails: Iterable[Message], counting: Counting | None) -> Evidence:
    """Everything that is known of the orders of this shop."""
    orders, taken = defaultdict(list), defaultdict[Any, dict[str, int]](dict)
    for email, *order in lab.query(ORDERS, MOVES, shop.channel_id):
        orders[email].append(Order(*order))
    for order_id, state, product_id, quantity in lab.query(TAKEN, shop.channel_id):
        taken[order_id, state][product_id] = quantity
    announced = defaultdict(list)
    for order_id, *mail in lab.query(MAILS, shop.channel_id):
        announced[order_id].append((mail[0], mail[1], mail[2]))
    counts = miscounted(lab, counting) if counting is not None else []
    stock: list[Any] = lab.query(STOCK, list({product for wish in shop.log for product in wish.lines}))
    return Evidence(orders, taken, stock, announced, counts, by_customer(mails))


def miscounted(lab: Laboratory, counting: Counting) -> list[Miscount]:
    """Where an event had more effects or fewer than it should."""
    statement = MISCOUNTED.format(rows=counting.rows, routing_key=ROUTING_KEY)
    return [Miscount(*row) for row in lab.query(statement, counting.consumers, counting.dead_letters_expected)]


def unsettled(lab: Laboratory) -> Sequence[object]:
    """Some of what is still on its way: in the outbox, or not handled by a consumer that listens."""
    return lab.query(UNSETTLED, FROM_THE_START, 1000)


def settle(
    lab: Laboratory,
    seconds: float,
    *,
    quiet: float = 0,
    unsettled: Callable[[Laboratory], Sequence[object]] = unsettled,
) -> float | None:
    """Wait until nothing is on its way; returns the seconds that took, or None if it took too long.

    With `quiet`, also give up when nothing has moved for that time.
    """
    began = last_beat = monotonic()
    pulse: Any = None

    def is_settled() -> bool:
        nonlocal pulse, last_beat
        try:
            left = unsettled(lab)
            beat = lab.query(PULSE) if quiet else None
        except psycopg.OperationalError:
            return False
        if beat != pulse:
            pulse, last_beat = beat, monotonic()
        if left and quiet and monotonic() - last_beat > quiet:
            raise TimeoutError(f"Nothing moves, and {left[:5]} are unsettled.")
        return not left

    try:
        wait_until(is_settled, seconds, "everything to be settled")
    except TimeoutError:
        return None
    return round(monotonic() - began, 1)


def violations(lab: Laboratory) -> list[str]:
    """What the product's own check finds over the whole database."""
    report = json.loads(lab.python("manage.py", "verify_pipeline", "--json", expect=(0, 1)))
    return [f"{each['code']}: {line}" for each in report["invariants"] for line in each["violations"][:20]]


class Checker:
    """Compares. `full` is off for a product that has neither events nor rows for its mails."""

    def __init__(self, shop: Shop, evidence: Evidence, *, full: bool = True, contested: Collection[str] = ()) -> None:
        """`contested`: products of which everything must be sold, if enough was asked for."""
        self.shop, self.evidence, self.full, self.contested = shop, evidence, full, contested
        self.verdict = Verdict(attempted=len(shop.log), accepted=len(shop.accepted))
        self.asked: Counter[tuple[str, str]] = Counter()

    def check(self, faults: Sequence[Trouble] = ()) -> Verdict:
        """Order by order, then product by product."""
        self.verdict.faults = len(faults)
        for wish in self.shop.log:
            wrong = self._check_order(wish)
            for column, why in wrong.items():
                self.verdict.count(column, f"order of {wish.email}: {why}")
            if wish.order_id is not None and not wrong and self._crossed(wish, faults):
                self.verdict.recovered += 1
        for email in self.evidence.orders.keys() - {wish.email for wish in self.shop.log}:
            self.verdict.count("limbo", f"order of {email}: I1: nobody asked for it")
        self._check_stock()
        self._check_other_events()
        self.verdict.waits = self._measure_waits(faults)
        self.verdict.findings += [f"I7: answered {answer}" for answer in self.shop.unfit]
        return self.verdict

    def _check_order(self, wish: Wish) -> dict[str, str]:
        """What is wrong with it, by column."""
        orders = self.evidence.orders.get(wish.email, [])
        wrong: dict[str, str] = {}
        for order in orders:
            if order.status in LEGAL:
                self._check_order_effects(wish, order, wrong)
            else:
                wrong["limbo"] = f"I5: it is {order.status} and nothing moves it"
        if len(orders) > 1:
            wrong["doubled"] = f"I1: there are {len(orders)} of it"
        if wish.order_id is not None and wish.order_id not in {order.id for order in orders}:
            wrong["lost"] = "I1: it was accepted, and is not there"
        if wish.order_id is None and orders:
            wrong["limbo"] = f"I1: it is stored, and its customer was told {wish.refusal or 'nothing'}"
        elif not wish.is_answered:
            wrong["limbo"] = "I5: its customer never got an answer"
        elif wish.refusal:
            wrong["lost"] = f"I1: it was refused: {wish.refusal}"
        return wrong

    def _check_order_effects(self, wish: Wish, order: Order, wrong: dict[str, str]) -> None:
        self._check_end(wish, order, wrong)
        for state in HAS.values():
            wanted = wish.lines if HAS.get(order.status) == state else {}
            self.asked.update({(product, state): quantity for product, quantity in wanted.items()})
            taken = self.evidence.taken.get((order.id, state), {})
            if taken != wanted:
                wrong["lost"] = f"I2: it is {order.status}, and {taken or 'nothing'} is {state}"
        self._check_mails(wish, order, wrong)
        if self.full and order.history not in LEGAL[order.status]:
            wrong["lost"] = f"I6: it is {order.status} after {', '.join(order.history) or 'nothing'}"
        wrong |= {each.column: str(each) for each in self.evidence.miscounted if each.aggregate_id == str(order.id)}

    def _check_end(self, wish: Wish, order: Order, wrong: dict[str, str]) -> None:
        may_end = ["CANCELLED"] if wish.is_cancelled else wish.may_end
        if order.timed_out:
            # Nothing is so slow here that an order could not be answered in time, once it can be answered at all.
            wrong["lost"] = "I1: it was cancelled as timed out" + (
                ", though its stock was there" if "CONFIRMED" in may_end and "REJECTED" not in may_end else ""
            )
        elif order.status not in may_end:
            wrong["lost"] = f"I1: it is {order.status} and should be {' or '.join(may_end)}"

    def _check_mails(self, wish: Wish, order: Order, wrong: dict[str, str]) -> None:
        history = order.history if self.full else LEGAL[order.status][0]
        due = [MAIL_FOR[move] for move in history if move in MAIL_FOR]
        got = {kind: self.evidence.arrived[wish.email, kind] for kind in MAIL_FOR.values()}
        if any(number > (kind in due) for kind, number in got.items()):
            wrong["doubled"] = f"I4: its customer got {got}"
        if not self.full:
            if not all(got[kind] for kind in due):
                wrong["lost"] = "I4: its customer got no mail"
            return
        mails = self.evidence.mails.get(order.id, [])
        for kind in sorted({*due} - {kind for kind, *_ in mails}):
            wrong["lost"] = f"I4: it is {order.status}, and nobody wrote its {kind}"
        for kind in sorted({kind for kind, *_ in mails} - {*due}):
            wrong["limbo"] = f"I4: it is {order.status}, and has a mail that is none of its own: {kind}"
        for kind, state, _ in mails:
            if state in ("QUEUED", "SENDING"):
                wrong["limbo"] = f"I4: its {kind} is {state} for ever"
            elif state == "UNKNOWN":
                self.verdict.in_doubt += 1
            elif state != "SENT" or not got[kind]:
                wrong["lost"] = f"I4: its {kind} is {state}, and {got[kind]} arrived"

    def _check_stock(self) -> None:
        """I2, by our own count of what the orders asked for."""
        for product, received, available, reserved, shipped in self.evidence.stock:
            if received != available + reserved + shipped or min(available, reserved, shipped) < 0:
                self.verdict.count(
                    "lost", f"I2: {product}: {received} received, not {available} + {reserved} + {shipped}"
                )
            asked = {state: self.asked[product, state] for state in HAS.values()}
            sold = sum(asked.values())
            if sold > received:
                self.verdict.count("doubled", f"I2: {product}: {sold} sold of {received} received")
            for state, has in (("RESERVED", reserved), ("SHIPPED", shipped)):
                if sold <= received and has != asked[state]:
                    column = "lost" if has < asked[state] else "doubled"
                    self.verdict.count(column, f"I2: {product}: {has} {state} for {asked[state]} asked for")
            wanted = sum(wish.lines.get(product, 0) for wish in self.shop.accepted.values())
            if product in self.contested and sold < min(received, wanted):
                self.verdict.count("lost", f"I2: {product}: only {sold} of {received} sold, {wanted} were wanted")

    def _check_other_events(self) -> None:
        """I3 for the events of whatever is not an order of this shop."""
        ours = set(map(str, self.evidence.statuses))
        for each in self.evidence.miscounted:
            if each.aggregate_id not in ours:
                self.verdict.count(each.column, str(each))

    def _crossed(self, wish: Wish, faults: Sequence[Trouble]) -> bool:
        """Whether a fault struck while the order was on its way, or its customer had to ask again."""
        assert wish.order_id is not None
        ends = [sent.timestamp() for *_, sent in self.evidence.mails.get(wish.order_id, []) if sent]
        ends += [order.updated_at.timestamp() for order in self.evidence.orders[wish.email]]
        return wish.tries > 1 or any(fault.meets(wish.asked_at, max(ends)) for fault in faults)

    def _measure_waits(self, faults: Sequence[Trouble]) -> Waits:
        longest, otherwise, excused = Wait(), Wait(), Counter[str]()
        for wish, order in self._answered():
            until = (order.answered_at or order.updated_at).timestamp()
            met = [fault for fault in faults if fault.meets(wish.accepted_at, until)]
            # Its first 201 may have been lost: then its customer was told of it after its end.
            wait = Wait(round(max(0.0, until - wish.accepted_at), 1), wish.email, [fault.what for fault in met])
            longest = max(longest, wait, key=_seconds)
            if any({*wish.lines, str(order.id)} & {*fault.locked} for fault in met):
                excused["lock"] += 1
            elif any(fault.is_outage for fault in met):
                excused["outage"] += 1
            else:
                otherwise = max(otherwise, wait, key=_seconds)
        answers = [wish.accepted_at - wish.asked_at for wish in self.shop.accepted.values()]
        return Waits(longest, otherwise, excused["lock"], excused["outage"], round(max(answers, default=0.0), 1))

    def _answered(self) -> Iterator[tuple[Wish, Order]]:
        for wish in self.shop.accepted.values():
            for order in self.evidence.orders.get(wish.email, []):
                if order.id == wish.order_id and order.status in LEGAL and not wish.is_called_off:
                    yield wish, order


def _seconds(wait: Wait) -> float:
    return wait.seconds
