"""From an id to all that can be told of it: the order, its mails and parcel, and the story of their events."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

import notifications.queries
import orders.queries
import shipping.queries
from console import words
from console.formats import duration
from eventbus import decode_json
from eventbus.traces import (
    Story,
    TracedDelivery,
    TracedEvent,
    TraceState,
    event_key,
    story_of_correlation,
    story_of_things,
)
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderRejected, OrderShipped


@dataclass(frozen=True, slots=True)
class Told:
    """What is known under an id. `order` is None where it is the id of something else; `names`: users, by id."""

    wanted: str
    story: Story
    order: dict[str, Any] | None = None
    mails: Sequence[dict[str, Any]] = ()
    parcel: dict[str, Any] | None = None
    names: dict[str, str] = field(default_factory=dict)

    @property
    def order_ids(self) -> list[str]:
        """The orders that this is about."""
        found = [event.row.aggregate_id for event in self.story.events if event.row.aggregate_type == "order"]
        return list(dict.fromkeys(found))

    def by_whom(self, event: TracedEvent) -> str:
        """Who acted, where nothing else led to this event."""
        user_id = event.row.user_id
        return self.names.get(user_id, f"user {user_id}") if user_id else ""

    def as_json(self) -> dict[str, Any]:
        """For machines: command and address alike."""
        order = {name: value for name, value in (self.order or {}).items() if name in _OF_ORDER}
        mails = [{name: mail[name] for name in _OF_MAIL} for mail in self.mails]
        parcel = {name: self.parcel[name] for name in _OF_PARCEL} if self.parcel else None
        return {"id": self.wanted, "order": order or None, "mails": mails, "shipment": parcel} | self.story.as_json()


_OF_ORDER = ("orderId", "status", "customerId", "totalAmount", "currency", "createdAt", "updatedAt", "cancelReason")
_OF_MAIL = ("mailId", "kind", "state", "error", "createdAt", "sentAt")
_OF_PARCEL = ("status", "carrier", "trackingNumber", "estimatedDelivery", "dispatchedAt")


def told_of_order(order_id: UUID) -> Told | None:
    """All of an order; None where there is none."""
    order = orders.queries.in_full(order_id)
    if order is None:
        return None
    mails = notifications.queries.mails_of(order_id)
    # A mail that is sent again is another action's, so its own events are asked for.
    story = story_of_things([order_id, *(mail["mailId"] for mail in mails)])
    parcel = shipping.queries.shipment_of(order_id)
    return Told(str(order_id), story, order, mails, parcel, names(story, order["channelId"]))


def told_of_correlation(correlation_id: str) -> Told | None:
    """All that one action caused; None where nothing is known of it."""
    story = story_of_correlation(correlation_id)
    return Told(correlation_id, story, names=names(story)) if story.events else None


def story_of_event(event_id: UUID) -> str | None:
    """Under which id the story that an event belongs to is told: its order's, else its correlation id. None where there
    is no such event."""
    key = event_key(event_id)
    if key is None:
        return None
    is_of_order = key.aggregate_type == OrderCreated.aggregate_type and as_uuid(key.aggregate_id)
    return key.aggregate_id if is_of_order else key.correlation_id


def told_of(wanted: str) -> Told | None:
    """All of an order, an event, or a correlation id; None where nobody knows it."""
    found = as_uuid(wanted)
    told = told_of_order(found) if found else None
    if told is None and found and (told_as := story_of_event(found)):
        order_id = as_uuid(told_as)
        told = (told_of_order(order_id) if order_id else None) or told_of_correlation(told_as)
    return told or told_of_correlation(wanted)


def as_uuid(text: str) -> UUID | None:
    """The text as a UUID; None where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def names(story: Story, *more: int) -> dict[str, str]:
    """What those are called who acted in a story."""
    ids = {event.row.user_id for event in story.events} | {str(each) for each in more}
    known = [int(each) for each in ids if each and each.isdecimal()]
    found: Iterable[tuple[int, str]] = get_user_model().objects.filter(pk__in=known).values_list("pk", "username")
    return {str(pk): name for pk, name in found}


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of an order's timeline for the shop's staff."""

    at: datetime
    icon: str
    text: str
    by: str


def moments(told: Told) -> list[Moment]:
    """What happened to an order in plain words, oldest first."""
    found = []
    for event in told.story.events:
        if sentence := words.tell(event.type, decode_json(event.row.data)):
            found.append(Moment(event.at, *sentence, told.by_whom(event) if event.row.causation_id is None else ""))
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What people ask of an order, answered. `kind`: good, info, warn or bad. `letter`: the dead letter behind it."""

    kind: str
    text: str
    letter: int | None = None
    at: datetime | None = None


#: What takes longer than this is worth a line.
PATIENCE = timedelta(seconds=5)
#: Which mail answers which event.
_ANSWERED_BY = {
    OrderConfirmed.type: "confirmation",
    OrderRejected.type: "apology",
    OrderShipped.type: "tracking",
    OrderCancelled.type: "cancellation",
}


def answers(told: Told, now: datetime) -> list[Answer]:
    """What went wrong, what is waited for, and what the customer was told: the worst first."""
    found = [*_troubles(told.story, now), *_of_order(told, now), *_of_mails(told), *_of_parcel(told)]
    order = ("bad", "warn", "info", "good")
    return sorted(found, key=lambda answer: order.index(answer.kind))


def _troubles(story: Story, now: datetime) -> Iterable[Answer]:
    for event in story.events:
        waits = now - event.at
        if any(each.state is TraceState.OUTBOX for each in event.deliveries) and waits > PATIENCE:
            yield Answer("warn", f"{event.type} has waited {duration(waits)} in the outbox: is a relay running?")
        for each in event.deliveries:
            if answer := _trouble(event, each, now):
                yield answer


def _trouble(event: TracedEvent, each: TracedDelivery, now: datetime) -> Answer | None:
    if each.state is TraceState.DEAD:
        why = f": {_line(each.error)}" if each.error else ""
        return Answer("bad", f"{each.consumer} gave {event.type} up{why}", each.letter, each.began_at)
    if each.state is TraceState.RETRYING:
        due = f"in {duration(each.due_at - now)}" if each.due_at and each.due_at > now else "any moment"
        text = f"{each.consumer} failed and tries again {due}, as attempt {each.next_attempt}: {_line(each.error)}"
        return Answer("warn", text, at=each.first_failed_at)
    if each.state is TraceState.BEHIND:
        return Answer("warn", f"{each.consumer} keeps {event.type} until an earlier event of the same thing is handled")
    if each.state is TraceState.UNDER_WAY and now - event.at > PATIENCE:
        return Answer("warn", f"{each.consumer} has not come to {event.type} for {duration(now - event.at)}")
    return None


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _of_order(told: Told, now: datetime) -> Iterable[Answer]:
    order = told.order or {}
    if order.get("isOverdue"):
        yield Answer("bad", f"Nothing has answered this order for {duration(now - order['createdAt'])}")
    for event in told.story.events:
        if event.type in (OrderRejected.type, OrderCancelled.type):
            sentence = words.tell(event.type, decode_json(event.row.data))
            yield Answer("info", sentence[1] if sentence else event.type, at=event.at)


def _of_mails(told: Told) -> Iterable[Answer]:
    sent = {mail["kind"]: mail for mail in told.mails}
    for mail in told.mails:
        yield Answer(*_of_mail(mail), at=mail["sentAt"] or mail["createdAt"])
    for event in told.story.events:
        kind = _ANSWERED_BY.get(event.type)
        if kind and kind not in sent and not any(each.state is not TraceState.DONE for each in event.deliveries):
            yield Answer("warn", f"No {kind} mail was written, though {event.type} was handled by all who listen")


def _of_mail(mail: dict[str, Any]) -> tuple[str, str]:
    name = f"The {mail['kind']} mail"
    match mail["state"]:
        case "SENT":
            return "good", f"{name} was sent to {mail['to']}"
        case "UNKNOWN":
            return "warn", f"{name} is in doubt: it may have arrived or not. {mail['error']}"
        case "FAILED":
            return "bad", f"{name} was refused by the mail server: {_line(mail['error'])}"
    return "info", f"{name} waits to be sent" + (f": {_line(mail['error'])}" if mail["error"] else "")


def _of_parcel(told: Told) -> Iterable[Answer]:
    parcel, order = told.parcel, told.order or {}
    if parcel and parcel["status"] == "PREPARED" and order.get("status") == "CONFIRMED":
        yield Answer("info", "The parcel is ready and not dispatched yet", at=parcel["createdAt"])
    if parcel and parcel["status"] == "DISPATCHED":
        how = f"{parcel['carrier']}, {parcel['trackingNumber']}"
        yield Answer("good", f"The parcel is on its way with {how}", at=parcel["dispatchedAt"])


def seconds_to(told: Told, event_types: Collection[str]) -> float | None:
    """From the first event to the first of these."""
    events = told.story.events
    found = next((event for event in events if event.type in event_types), None)
    return (found.at - events[0].at).total_seconds() if found else None
