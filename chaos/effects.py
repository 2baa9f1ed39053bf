"""The checker: what the customers were told, against what is in the database and in their mailboxes."""

import json
import mailbox
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg

from chaos.faults import Struck
from chaos.shop import HOT, OUTCOMES, Wish
from chaos.stage import MAILBOX, Stage
from chaos.waiting import TooLate, wait_until

FINAL = {"CONFIRMED", "REJECTED"}
HISTORY = {
    "CONFIRMED": ["order.created", "order.confirmed"],
    "REJECTED": ["order.created", "order.rejected"],
}
SUBJECT = {"CONFIRMED": "is confirmed", "REJECTED": "We are sorry"}
MAILED = {"CONFIRMED": "confirmation", "REJECTED": "apology"}

ORDERS = "SELECT customer_email, id, status, updated_at FROM orders_order ORDER BY id"
RESERVED = (
    "SELECT order_id, product_id, sum(quantity)::int FROM inventory_reservation WHERE state = 'RESERVED' GROUP BY 1, 2"
)
STOCK = "SELECT product_id, received, available, reserved, shipped FROM inventory_stock"
MAILS = "SELECT order_id, kind, state, sent_at FROM notifications_mail"
EVENTS = """
SELECT e.aggregate_id::uuid, e.type, (SELECT count(*) FROM chaos_tally t WHERE t.event_id = e.id)
FROM event e WHERE e.type IN ('order.created', 'order.confirmed', 'order.rejected', 'order.cancelled', 'order.shipped')
ORDER BY e.aggregate_id, e.sequence
"""
UNFINISHED = """
SELECT (SELECT count(*) FROM orders_order WHERE status = 'CREATED') + (SELECT count(*) FROM outbox)
     + (SELECT count(*) FROM notifications_mail WHERE state IN ('QUEUED', 'SENDING'))
     + (SELECT count(*) FROM orders_order o WHERE o.status IN ('CONFIRMED', 'REJECTED')
        AND NOT EXISTS (SELECT FROM notifications_mail m WHERE m.order_id = o.id))
     + (SELECT count(*) FROM subscription s
        JOIN event e ON s.routing_key = e.type || '.v' || split_part(e.version, '.', 1) AND e.occurred_at >= s.since
        WHERE NOT EXISTS (SELECT FROM processed_event p WHERE p.event_id = e.id AND p.consumer = s.consumer))
"""
# Whatever goes on: an event recorded, an event handled, a mail on its way.
PULSE = """
SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM processed_event), (SELECT count(*) FROM outbox),
       (SELECT count(*) FROM orders_order WHERE status <> 'CREATED'),
       (SELECT json_object_agg(state, n)::text FROM (SELECT state, count(*) n FROM notifications_mail GROUP BY 1) m)
"""
DEAD = "SELECT consumer, count(*) FROM processed_event WHERE outcome IN ('dead', 'waiting') GROUP BY 1"


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

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.limbo or self.findings)

    def line(self) -> str:
        """The last line of the output."""
        names = ("attempted", "accepted", "lost", "doubled", "recovered", "limbo", "faults")
        return json.dumps({name: getattr(self, name) for name in names})


@dataclass
class Evidence:
    """What the product did, by order."""

    orders: dict[str, list[tuple[UUID, str, datetime]]]
    reserved: dict[UUID, dict[str, int]]
    stock: list[tuple[str, int, int, int, int]]
    mails: dict[UUID, list[tuple[str, str, datetime | None]]]
    events: dict[UUID, list[tuple[str, int]]]
    #: (address, what the subject begins or ends with) of each mail that arrived.
    arrived: Counter[tuple[str, str]]


def settle(stage: Stage, seconds: float, *, quiet: float = 0, unfinished: str = UNFINISHED) -> float | None:
    """Wait until nothing is on its way; returns the seconds that took, or None if it took too long.

    With `quiet`, also give up when nothing moves for so long.
    """
    began = last_beat = monotonic()
    pulse: Any = None

    def is_settled() -> bool:
        nonlocal pulse, last_beat
        try:
            ((left,),) = stage.query(unfinished)
            beat = stage.query(PULSE) if quiet else None
        except psycopg.OperationalError:
            return False
        if beat != pulse:
            pulse, last_beat = beat, monotonic()
        if left and quiet and monotonic() - last_beat > quiet:
            raise TooLate(f"Nothing moves, and {left} things are unfinished.")
        return not left

    try:
        wait_until(is_settled, seconds, "everything to be finished", every=0.3)
    except TooLate:
        return None
    return round(monotonic() - began, 1)


def gather(stage: Stage, *, events: bool = True) -> Evidence:
    orders = defaultdict(list)
    for email, order_id, status, updated_at in stage.query(ORDERS):
        orders[email].append((order_id, status, updated_at))
    reserved: dict[UUID, dict[str, int]] = defaultdict(dict)
    for order_id, product_id, quantity in stage.query(RESERVED):
        reserved[order_id][product_id] = quantity
    mails = defaultdict(list)
    for order_id, kind, state, sent_at in stage.query(MAILS):
        mails[order_id].append((kind, state, sent_at))
    told = defaultdict(list)
    for order_id, kind, effects in stage.query(EVENTS) if events else ():
        told[order_id].append((kind, effects))
    stock: list[Any] = stage.query(STOCK)
    return Evidence(orders, reserved, stock, mails, told, arrived())


def arrived() -> Counter[tuple[str, str]]:
    """How often each customer got each kind of mail."""
    found: Counter[tuple[str, str]] = Counter()
    for message in mailbox.Maildir(MAILBOX, create=False):
        subject = str(message["Subject"])
        for status, words in SUBJECT.items():
            if words in subject:
                found[str(message["To"]), status] += 1
    return found


def empty_mailbox() -> None:
    """Forget the mails of earlier runs."""
    box = mailbox.Maildir(MAILBOX, create=True)
    box.clear()


class Checker:
    """Compares. `full` is off for the baseline, which has neither events nor rows for its mails."""

    def __init__(self, wishes: Sequence[Wish], evidence: Evidence, *, full: bool = True) -> None:
        self.wishes, self.evidence, self.full = wishes, evidence, full
        self.verdict = Verdict(
            attempted=sum(wish.tries > 0 for wish in wishes), accepted=sum(wish.order_id is not None for wish in wishes)
        )
        self.confirmed: Counter[str] = Counter()

    def check(self, struck: Iterable[Struck]) -> Verdict:
        """I1 to I6, order by order, then product by product."""
        spans = [(each.began, each.until) for each in struck]
        self.verdict.faults = len(spans)
        for wish in self.wishes:
            if wish.tries == 0:
                continue
            faults = self._check_order(wish)
            for column, why in faults.items():
                setattr(self.verdict, column, getattr(self.verdict, column) + 1)
                self.verdict.findings.append(f"{column}: order of {wish.email}: {why}")
            if wish.order_id is not None and not faults and self._crossed(wish, spans):
                self.verdict.recovered += 1
        self._check_stock()
        return self.verdict

    def _check_order(self, wish: Wish) -> dict[str, str]:
        """What is wrong with it, by column."""
        rows = self.evidence.orders.get(wish.email, [])
        wrong: dict[str, str] = {}
        for order_id, status, _ in rows:
            if status == "CONFIRMED":
                self.confirmed.update(wish.lines)
            if status in FINAL:
                self._check_effects(wish, order_id, status, wrong)
            else:
                wrong["limbo"] = f"it is {status} and nothing moves it"
        if len(rows) > 1:
            wrong["doubled"] = f"there are {len(rows)} of it"
        if wish.order_id is not None and wish.order_id not in {order_id for order_id, *_ in rows}:
            wrong["lost"] = "it was accepted, and is not there"
        if wish.order_id is None and rows:
            wrong["limbo"] = f"it is stored, and its customer was told {wish.refusal or 'nothing'}"
        elif not wish.is_answered:
            wrong["limbo"] = "its customer never got an answer"
        elif wish.refusal:
            wrong["lost"] = f"it was refused: {wish.refusal}"
        return wrong

    def _check_effects(self, wish: Wish, order_id: UUID, status: str, wrong: dict[str, str]) -> None:
        expected = OUTCOMES.get(wish.kind, status)
        if status != expected:
            wrong["lost"] = f"it is {status} and should be {expected}"
        reserved = self.evidence.reserved.get(order_id, {})
        if reserved != (wish.lines if status == "CONFIRMED" else {}):
            wrong["lost"] = f"it is {status}, and {reserved or 'nothing'} is reserved"
        self._check_mail(wish, order_id, status, wrong)
        if not self.full:
            return
        told = self.evidence.events.get(order_id, [])
        if [kind for kind, _ in told] != HISTORY[status]:
            wrong["lost"] = f"it is {status} after {', '.join(kind for kind, _ in told)}"
        for kind, effects in told:
            if effects != 1:
                wrong["doubled" if effects else "lost"] = f"{kind} had its effect {effects} times"

    def _check_mail(self, wish: Wish, order_id: UUID, status: str, wrong: dict[str, str]) -> None:
        got = self.evidence.arrived[wish.email, status]
        other = sum(self.evidence.arrived[wish.email, each] for each in FINAL - {status})
        if got > 1 or other:
            wrong["doubled"] = f"its customer got {got + other} mails"
        if not self.full:
            if not got:
                wrong["lost"] = "its customer got no mail"
            return
        rows = self.evidence.mails.get(order_id, [])
        if [kind for kind, *_ in rows] != [MAILED[status]]:
            wrong["limbo"] = f"it is {status}, and has the mails {[kind for kind, *_ in rows]}"
            return
        _, state, _ = rows[0]
        if state in ("QUEUED", "SENDING"):
            wrong["limbo"] = f"its mail is {state} for ever"
        elif state == "UNKNOWN":
            self.verdict.in_doubt += 1
        elif state != "SENT" or not got:
            wrong["lost"] = f"its mail is {state}, and {got} arrived"

    def _check_stock(self) -> None:
        """I2, by our own count of what the confirmed orders asked for."""
        for product, received, available, reserved, shipped in self.evidence.stock:
            asked = self.confirmed[product]
            if received != available + reserved + shipped or min(available, reserved, shipped) < 0:
                self._found("lost", f"{product}: received {received}, not {available} + {reserved} + {shipped}")
            if asked > received:
                self._found("doubled", f"{product}: {asked} confirmed of {received} received")
            elif reserved != asked:
                self._found("lost" if reserved < asked else "doubled", f"{product}: {reserved} reserved for {asked}")
            wanted = sum(wish.order_id is not None for wish in self.wishes if wish.kind == "hot")
            if product == HOT and asked < min(received, wanted):
                self._found("lost", f"{product}: only {asked} of {received} confirmed, {wanted} orders wanted it")

    def _found(self, column: str, what: str) -> None:
        setattr(self.verdict, column, getattr(self.verdict, column) + 1)
        self.verdict.findings.append(f"{column}: {what}")

    def _crossed(self, wish: Wish, spans: Sequence[tuple[float, float]]) -> bool:
        """Whether a fault struck while the order was on its way, or its customer had to ask again."""
        assert wish.order_id is not None
        ends = [sent.timestamp() for *_, sent in self.evidence.mails.get(wish.order_id, []) if sent]
        ends += [at.timestamp() for order_id, _, at in self.evidence.orders[wish.email] if order_id == wish.order_id]
        end = max(ends)
        return wish.tries > 1 or any(began < end and until > wish.asked_at for began, until in spans)


def check_pipeline(stage: Stage, verdict: Verdict) -> None:
    """The product's own check (I2, I3, I4), and that no dead letter is anywhere (I5)."""
    report = json.loads(stage.python("manage.py", "verify_pipeline", "--json", expect=(0, 1)))
    for each in report["invariants"]:
        verdict.findings += [f"verify_pipeline: {each['code']}: {line}" for line in each["violations"][:20]]
    dead: Mapping[str, int] = dict(stage.query(DEAD))
    status = json.loads(stage.python("manage.py", "bus_status", "--json", expect=(0, 1)))
    letters = sum(dead.values()) or sum(queue["dead"] for queue in status["queues"])
    if letters:
        verdict.limbo += letters
        verdict.findings.append(f"limbo: {letters} dead letters: {dict(dead)}")
