"""What is due is claimed, sent outside of any transaction, and then noted.

A claim is a lease: it makes the delivery due again when the lease ends. Whoever dies with it leaves it to the next, and
the partner may get it twice; what comes of it afterwards counts only for who still has it.

However much waits for a webhook, only so many attempts at it are under way at once, and a single one while it fails;
and only so many at all that one partner has: so that what hangs, or is slow, takes little of what all of them share.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet

from eventbus import database_time, new_id
from webhooks.calling import DEADLINE, Outcome
from webhooks.messages import Told
from webhooks.models import Attempt, Delivery, DeliveryState, State, Webhook

log = structlog.get_logger(__name__)

#: Seconds that a claim holds: longer than an attempt may take, noting it included.
LEASE = 3 * DEADLINE
#: Attempts at one webhook at once, and from how many failures in a row on it counts as failing.
AT_ONCE = 4
FAILING = 3
#: Attempts at once at all webhooks of one partner that fail, and as many at the others: a quarter of what a process
#: waits for. Two processes that claim in the same moment may go beyond it.
PARTNERS_AT_ONCE = 50
#: Seconds from an attempt that failed to the next, by how many failed: over three days in all. Each is spread, so that
#: what failed together does not come again together.
LADDER = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
SPREAD = 0.2
#: Seconds after which a webhook that fails is tried again at most, whatever waits for it.
LONGEST_PAUSE = 300
#: The partner, or what stands before them, asks for fewer.
SLOW_DOWN = {429, 502, 503, 504}
#: After so many days without a single success it is disabled.
GIVE_UP_DAYS = 5

# Among those of `w`. No lease ends later, so it leaves out what waits for its next attempt.
UNDER_WAY = f"""
    d.webhook_id = w.id AND d.state = '{DeliveryState.WAITING}' AND d.claimed_by IS NOT NULL
    AND d.due_at > statement_timestamp() AND d.due_at <= statement_timestamp() + interval '{LEASE} seconds'
"""
# The row of the webhook is locked for as long as this takes: two processes don't each count what only one may claim.
# Every partner gets a first attempt before anybody gets a second.
CLAIM = f"""
WITH open AS MATERIALIZED (
    SELECT w.id, w.owner_id, (CASE WHEN w.failures >= {FAILING} THEN 1 ELSE {AT_ONCE} END - (
        SELECT count(*) FROM webhooks_delivery d WHERE {UNDER_WAY}
    )) AS room
    FROM webhooks_webhook w JOIN auth_user owner ON owner.id = w.owner_id AND owner.is_active
    WHERE w.state = '{State.ACTIVE}' AND (w.failures >= {FAILING}) = %(failing)s
    AND (w.not_before IS NULL OR w.not_before <= statement_timestamp())
    AND EXISTS (SELECT FROM webhooks_delivery d WHERE d.webhook_id = w.id AND d.state = '{DeliveryState.WAITING}'
                AND d.due_at <= statement_timestamp())
    FOR NO KEY UPDATE OF w SKIP LOCKED
), partner AS MATERIALIZED (
    SELECT owner_id, {PARTNERS_AT_ONCE} - (
        SELECT count(*) FROM webhooks_webhook w JOIN webhooks_delivery d ON {UNDER_WAY}
        WHERE w.owner_id = each.owner_id AND (w.failures >= {FAILING}) = %(failing)s
    ) AS room
    FROM (SELECT DISTINCT owner_id FROM open) each
), turn AS MATERIALIZED (
    SELECT d.id, open.owner_id, row_number() OVER (PARTITION BY open.owner_id ORDER BY random()) AS place
    FROM open CROSS JOIN LATERAL (
        SELECT id FROM webhooks_delivery WHERE webhook_id = open.id AND state = '{DeliveryState.WAITING}'
        AND due_at <= statement_timestamp() ORDER BY due_at LIMIT greatest(open.room, 0)
    ) d
), chosen AS MATERIALIZED (
    SELECT turn.id FROM turn JOIN partner USING (owner_id) WHERE place <= partner.room
    ORDER BY place, random() LIMIT %(most)s
), due AS MATERIALIZED (
    SELECT id FROM webhooks_delivery WHERE id IN (SELECT id FROM chosen) AND state = '{DeliveryState.WAITING}'
    AND due_at <= statement_timestamp() FOR UPDATE SKIP LOCKED
)
UPDATE webhooks_delivery d
SET claimed_by = gen_random_uuid(), due_at = statement_timestamp() + interval '{LEASE} seconds', tries = d.tries + 1
FROM due JOIN webhooks_delivery AS before USING (id) JOIN webhooks_webhook w ON w.id = before.webhook_id
WHERE d.id = due.id
RETURNING d.id, d.claimed_by, d.tries, w.id, w.url, w.secret, w.previous_secret,
    w.previous_secret_until > statement_timestamp(), d.event_id, d.event_type, d.version, d.aggregate_type,
    d.aggregate_id, d.occurred_at
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery in hand, with all that is needed to send it. `secrets`: encrypted."""

    delivery_id: UUID
    token: UUID
    tries: int
    webhook_id: UUID
    url: str
    secrets: tuple[bytes, ...]
    told: Told


def claim(most: int, *, failing: bool) -> list[Claim]:
    """Claim what is due, a little of every webhook: of those that fail, or of the others. Raises DatabaseError."""
    if most <= 0:
        return []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLAIM, {"most": most, "failing": failing})
        return [_claim(*row) for row in cursor.fetchall()]


def _claim(
    delivery_id: UUID,
    token: UUID,
    tries: int,
    webhook_id: UUID,
    url: str,
    secret: memoryview,
    previous: memoryview | None,
    previous_signs: bool | None,
    *told: object,
) -> Claim:
    secrets = (bytes(secret), bytes(previous)) if previous is not None and previous_signs else (bytes(secret),)
    return Claim(delivery_id, token, tries, webhook_id, url, secrets, Told(*told))  # type: ignore[arg-type]


def give_back(claims: Sequence[Claim]) -> None:
    """Leave to others what was claimed and not brought to an end. Raises DatabaseError."""
    for each in claims:
        _ours(each).update(claimed_by=None, due_at=database_time(), tries=each.tries - 1)


@transaction.atomic
def note(claimed: Claim, outcome: Outcome, *, at: datetime) -> None:
    """Write down what came of an attempt, and what follows for the delivery and its webhook. Raises DatabaseError."""
    if not Delivery.objects.filter(pk=claimed.delivery_id).exists():
        return  # too old, or its webhook deleted
    Attempt.objects.create(
        id=new_id(),
        delivery_id=claimed.delivery_id,
        at=at,
        milliseconds=outcome.milliseconds,
        status=outcome.status,
        error=outcome.error,
        answer=outcome.answer,
    )
    if outcome.is_delivered:
        _note_success(claimed)
    else:
        _note_failure(claimed, outcome)


def _note_success(claimed: Claim) -> None:
    # The webhook first, as everywhere: or two could wait for each other. Not each success writes the row of all.
    Webhook.objects.filter(pk=claimed.webhook_id, failures__gt=0).update(
        failures=0, failing_since=None, not_before=None
    )
    delivered = {"state": DeliveryState.DELIVERED, "delivered_at": database_time(), "claimed_by": None, "error": ""}
    _ours(claimed).update(**delivered)


def _note_failure(claimed: Claim, outcome: Outcome) -> None:
    now = database_time()
    webhook = Webhook.objects.select_for_update(no_key=True).get(pk=claimed.webhook_id)
    wait = pause_of_delivery(claimed.tries, outcome)
    if wait is None:
        _ours(claimed).update(state=DeliveryState.FAILED, claimed_by=None, error=outcome.error)
    else:
        _ours(claimed).update(claimed_by=None, due_at=_in(wait, now), error=outcome.error)
    webhook.failures += 1
    webhook.failing_since = webhook.failing_since or now
    if pause := pause_of_webhook(webhook.failures, outcome):
        webhook.not_before = _in(pause, now)
    changed = ["failures", "failing_since", "not_before"]
    if webhook.state == State.ACTIVE and (because := _why_disable(webhook, outcome, now)):
        webhook.state, webhook.disabled_because, webhook.disabled_at = State.DISABLED, because, now
        changed += ["state", "disabled_because", "disabled_at"]
        log.error("webhook.disabled", webhook_id=str(webhook.pk), why=because)
    webhook.save(update_fields=changed)


def pause_of_delivery(tries: int, outcome: Outcome) -> float | None:
    """Seconds until it is tried again after so many tries; None: never."""
    if tries > len(LADDER):
        return None
    return max(spread(LADDER[tries - 1]), outcome.retry_after or 0.0)


def pause_of_webhook(failures: int, outcome: Outcome) -> float:
    """Seconds in which nothing is sent to a webhook after so many failures in a row."""
    if outcome.retry_after:
        return outcome.retry_after
    if failures < FAILING and outcome.status not in SLOW_DOWN:
        return 0.0
    return spread(min(2.0 ** min(failures, 20), LONGEST_PAUSE))


def spread(seconds: float) -> float:
    """About so many."""
    return seconds * random.uniform(1 - SPREAD, 1 + SPREAD)


def _why_disable(webhook: Webhook, outcome: Outcome, now: datetime) -> str:
    if outcome.is_gone:
        return "It answered 410: nobody wants to be told there any more."
    if webhook.failing_since is not None and (now - webhook.failing_since).days >= GIVE_UP_DAYS:
        return f"It has taken nothing for {GIVE_UP_DAYS} days. The last attempt: {outcome.error}"
    return ""


def _ours(claimed: Claim) -> QuerySet[Delivery]:
    """The delivery, if nobody else has it by now."""
    return Delivery.objects.filter(pk=claimed.delivery_id, claimed_by=claimed.token)


def _in(seconds: float, now: datetime) -> datetime:
    return now + timedelta(seconds=seconds)
