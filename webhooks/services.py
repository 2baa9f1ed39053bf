"""The verbs of webhooks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Q

from eventbus import Event, InvalidEvent, database_time, new_id
from eventbus.archive import archived, events_between, first_id_at
from webhooks import secrets
from webhooks.addresses import check_url
from webhooks.catalogue import BY_TYPE, PLACED, fields_of
from webhooks.messages import PING
from webhooks.models import Delivery, DeliveryState, State, Webhook

log = structlog.get_logger(__name__)

#: Webhooks that a partner may have.
MOST_WEBHOOKS = 50
#: How long the secret before the newest still signs, too.
OVERLAP = timedelta(hours=24)
#: How long deliveries are kept, and so how far back what was missed can be recovered.
KEPT = timedelta(days=30)
#: Events of the archive that a recovery looks at in one step, whatever they are: deliveries wait meanwhile.
STEP = 1_000

OWNERS = f"""
SELECT aggregate_id, user_id FROM {archived(PLACED)} AS placed WHERE aggregate_id = ANY(%s) AND user_id IS NOT NULL
"""
QUEUE = """
INSERT INTO webhooks_delivery (id, webhook_id, event_id, event_type, version, aggregate_type, aggregate_id, occurred_at)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[],
                     %s::timestamptz[])
ON CONFLICT (webhook_id, event_id)
"""
ONCE = f"{QUEUE} DO NOTHING"
# What was delivered, or waits, needs no help.
ANEW = f"""{QUEUE} DO UPDATE SET state = '{DeliveryState.WAITING}', due_at = now(), tries = 0, error = ''
WHERE webhooks_delivery.state = '{DeliveryState.FAILED}'
"""


class TooManyWebhooks(Exception):
    """The partner has as many as one may have."""


class UnknownEvents(ValueError):
    """No such event can be listened to."""


class UnknownFields(ValueError):
    """A filter names a field that not all of the events have."""


class NotActive(Exception):
    """It is paused or disabled, or its owner's account is: nothing is sent there."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a webhook is to be. Raises ForbiddenAddress, UnknownEvents or UnknownFields."""

    url: str
    event_types: Sequence[str]
    filters: Mapping[str, Sequence[Any]]
    description: str = ""

    def __post_init__(self) -> None:
        check_url(self.url)
        if unknown := sorted(set(self.event_types) - set(BY_TYPE)):
            raise UnknownEvents(f"{', '.join(unknown)}: choose among {', '.join(sorted(BY_TYPE))}.")
        if unknown := sorted(set(self.filters) - fields_of(list(self.event_types))):
            raise UnknownFields(f"{', '.join(unknown)}: not a field of the data of each of these events.")


@transaction.atomic
def create_webhook(*, owner: Any, wish: Wish) -> tuple[Webhook, str]:
    """Make one; returns it and its secret, which nobody is told again. Raises TooManyWebhooks."""
    with connection.cursor() as cursor:
        # One by one for each partner, or two at once would both be the last.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('webhooks of', %s))", [owner.pk])
    if Webhook.objects.filter(owner=owner).exclude(state=State.DELETED).count() >= MOST_WEBHOOKS:
        raise TooManyWebhooks(f"You have {MOST_WEBHOOKS} webhooks. Delete one first.")
    secret = secrets.new_secret()
    made = Webhook.objects.create(
        owner=owner,
        url=wish.url,
        event_types=sorted(set(wish.event_types)),
        filters=dict(wish.filters),
        description=wish.description,
        secret=secrets.seal(secret),
    )
    # With the time that the database has given it.
    return Webhook.objects.get(pk=made.pk), secret


def change_webhook(webhook_id: UUID, wish: Wish) -> None:
    """Let it be so from now on. What waits already goes to the new address."""
    _there(webhook_id).update(
        url=wish.url,
        event_types=sorted(set(wish.event_types)),
        filters=dict(wish.filters),
        description=wish.description,
    )


def pause(webhook_id: UUID) -> None:
    """Send nothing until it is resumed; what happens meanwhile is missed, and can be recovered."""
    _there(webhook_id).filter(state=State.ACTIVE).update(state=State.PAUSED)


def resume(webhook_id: UUID) -> None:
    """Send again, to one that was paused or disabled, and forget that it failed. What waited goes out at once."""
    healthy = {"failures": 0, "failing_since": None, "not_before": None}
    _there(webhook_id).exclude(state=State.ACTIVE).update(
        state=State.ACTIVE, disabled_because="", disabled_at=None, **healthy
    )


def delete_webhook(webhook_id: UUID) -> None:
    """It is gone for its owner at once, and from the tables within hours."""
    _there(webhook_id).update(state=State.DELETED)


@transaction.atomic
def rotate_secret(webhook_id: UUID) -> str:
    """Sign with a new secret from now on, which is returned, and for a day with the one before it as well."""
    webhook = _there(webhook_id).select_for_update(no_key=True).get()
    secret = secrets.new_secret()
    webhook.previous_secret, webhook.previous_secret_until = webhook.secret, database_time() + OVERLAP
    webhook.secret = secrets.seal(secret)
    webhook.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
    return secret


def ping(webhook_id: UUID) -> Delivery:
    """Send a test, as any event is sent; returns what to look at. Raises NotActive."""
    webhook = _there(webhook_id).get()
    _must_be_active(webhook)
    made_id = new_id()
    Delivery.objects.create(
        webhook=webhook,
        event_id=made_id,
        event_type=PING,
        version="1.0",
        aggregate_type="webhook",
        aggregate_id=str(webhook.pk),
        occurred_at=database_time(),
        id=made_id,
    )
    return Delivery.objects.get(pk=made_id)


@transaction.atomic
def resend(delivery: Delivery) -> Delivery:
    """Send it again, whatever became of it. The partner may get it twice, by the same id. Raises NotActive."""
    _must_be_active(delivery.webhook)
    Delivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.WAITING, due_at=database_time(), tries=0, claimed_by=None, error=""
    )
    return Delivery.objects.select_related("webhook").get(pk=delivery.pk)


def recover(webhook_id: UUID, *, since: datetime) -> None:
    """Send all of its events since then that it did not get: those that were given up, and those that happened while it
    was paused or disabled. It is carried out afterwards: `recover_step`. Raises NotActive."""
    webhook = _there(webhook_id).get()
    _must_be_active(webhook)
    now = database_time()
    first = first_id_at(max(since, now - KEPT))
    if webhook.recovering_from is not None:
        first = min(first, webhook.recovering_from)
    _there(webhook_id).update(recovering_from=first, recovering_until=first_id_at(now))


@transaction.atomic
def recover_step() -> bool:
    """Go on with a recovery that somebody asked for, any of them; returns whether there was one."""
    webhook = (
        Webhook.objects.filter(state=State.ACTIVE, owner__is_active=True, recovering_from__isnull=False)
        .select_related("owner")
        .select_for_update(of=("self",), no_key=True, skip_locked=True)
        .order_by("?")
        .first()
    )
    if webhook is None:
        return False
    # What is offered no more, nobody is told of.
    contracts = [BY_TYPE[each] for each in webhook.event_types if each in BY_TYPE]
    assert webhook.recovering_from is not None
    assert webhook.recovering_until is not None
    until = webhook.recovering_until
    try:
        events, next_id = events_between(contracts, webhook.recovering_from, until, limit=STEP)
    except InvalidEvent:
        # One that nobody can read any more. The recoveries of others are not to wait behind this one.
        log.exception("webhook.recovery_given_up", webhook_id=str(webhook.pk))
        events, next_id = [], until
    _queue(ANEW, events, [webhook])
    done = next_id == until
    webhook.recovering_from, webhook.recovering_until = (None, None) if done else (next_id, until)
    webhook.save(update_fields=["recovering_from", "recovering_until"])
    return True


def queue_deliveries(events: Sequence[Event]) -> None:
    """Write down which webhooks are to be told of these events."""
    types = sorted({event.type for event in events})
    active = Webhook.objects.filter(state=State.ACTIVE, owner__is_active=True, event_types__overlap=types)
    _queue(ONCE, events, active.select_related("owner"))


def _queue(sql: str, events: Sequence[Event], webhooks: Iterable[Webhook]) -> None:
    webhooks = list(webhooks)
    if not webhooks or not events:
        return
    placed_by = _who_placed({event.aggregate_id for event in events if event.aggregate_type == PLACED.aggregate_type})
    rows = [
        (new_id(), webhook.pk, *_columns(event))
        for event in events
        for webhook in webhooks
        if concerns(webhook, event, placed_by)
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(sql, [list(column) for column in zip(*rows, strict=True)])


def concerns(webhook: Webhook, event: Event, placed_by: Mapping[str, str]) -> bool:
    """Whether it is to be told: it asked for such events, and may know of this one."""
    if event.type not in webhook.event_types:
        return False
    is_of_order = event.aggregate_type == PLACED.aggregate_type
    if is_of_order and not webhook.owner.is_staff and placed_by.get(event.aggregate_id) != str(webhook.owner.pk):
        return False
    data = event.model_dump(mode="json", by_alias=True) if webhook.filters else {}
    return all(data.get(name) in values for name, values in webhook.filters.items())


def _who_placed(order_ids: Iterable[str]) -> dict[str, str]:
    """By order the account of the channel that placed it; a pruned one is nobody's."""
    with connection.cursor() as cursor:
        cursor.execute(OWNERS, [sorted(order_ids)])
        return dict(cursor.fetchall())


def _columns(event: Event) -> tuple[Any, ...]:
    told = event.envelope
    return told.event_id, event.type, event.version, event.aggregate_type, event.aggregate_id, told.occurred_at


def _there(webhook_id: UUID) -> Any:
    return Webhook.objects.filter(~Q(state=State.DELETED), pk=webhook_id)


def _must_be_active(webhook: Webhook) -> None:
    if webhook.state != State.ACTIVE:
        raise NotActive(f"It is {State(webhook.state).label}. Resume it first.")
    if not webhook.owner.is_active:
        raise NotActive("Its owner's account is deactivated. Activate that first.")
