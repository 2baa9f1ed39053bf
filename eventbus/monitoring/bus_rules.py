"""What the bus watches of itself."""

from collections.abc import Mapping
from datetime import timedelta

from django.db import connection

from eventbus.archive.partitions import strays
from eventbus.broker.topology import UPKEEP
from eventbus.contracts.versions import ROUTING_KEY
from eventbus.db.clock import database_time
from eventbus.dead_letters.models import DeadLetter, DeadLetterState
from eventbus.dead_letters.retention import dropped_soon
from eventbus.declaration import CONSUMERS
from eventbus.heartbeats.processes import RELAY
from eventbus.ids import AGE_AT_HANDLING, LATE_COMMIT, first_id_at, moment_of, seconds_since
from eventbus.monitoring.full_queues import full_queues
from eventbus.monitoring.rules import Observation, alarm_rule
from eventbus.monitoring.status import QueueStatus
from eventbus.restores.timeline import is_reconciled
from eventbus.retries.queries import by_consumer

# The search for a consumer's oldest event begins where the last one ended, so that it reads what came since and not the
# archive. For a consumer that was never asked about it begins a day back: for what is older there is verify_pipeline.
OLDEST = f"""
SELECT s.id, s.consumer, found.id
FROM (
    SELECT *, coalesce(watermark, greatest(since, now() - interval '1 day')) AS begins FROM subscription
) AS s LEFT JOIN LATERAL (
    SELECT e.id FROM event e
    WHERE {ROUTING_KEY} = s.routing_key
      AND e.id >= (lpad(to_hex((extract(epoch FROM s.begins) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
      AND e.id < %s
      AND NOT EXISTS (SELECT FROM processed_event p WHERE p.event_id = e.id AND p.consumer = s.consumer)
    ORDER BY e.id LIMIT 1
) AS found ON true
WHERE s.consumer = ANY(%s)
"""
SETTLED = """
UPDATE subscription SET watermark = t.moment FROM unnest(%s::bigint[], %s::timestamptz[]) AS t(id, moment)
WHERE subscription.id = t.id AND coalesce(watermark, since) < t.moment
"""

LATENCY = f"""
SELECT consumer, percentile_cont(0.95) WITHIN GROUP (ORDER BY {AGE_AT_HANDLING})
FROM (SELECT * FROM processed_event WHERE event_id >= %s ORDER BY event_id DESC LIMIT 20000) AS recent
WHERE outcome = 'done' GROUP BY consumer
"""
RECENT = timedelta(minutes=5)
#: Hours, where there never was a backup.
NEVER = 9_999.0


LOST = "SELECT consumer, count(*) FROM lost_queue WHERE noticed_at > now() - interval '1 hour' GROUP BY consumer"


def _queues(seen: Observation) -> list[QueueStatus] | None:
    return None if seen.bus is None else seen.bus.queues


@alarm_rule(
    "broker_away",
    "1 while RabbitMQ does not answer",
    threshold=1,
    evaluations=2,
    advice="Start RabbitMQ, or see why it refuses us. Nothing is lost meanwhile: events wait in the outbox.",
)
def broker_away(seen: Observation) -> Mapping[str, float]:
    return {"": float(seen.bus is None)}


@alarm_rule(
    "database_away",
    "1 while PostgreSQL does not answer: each process that watches says so by itself, from memory",
    threshold=1,
    advice="Start PostgreSQL, or see why it refuses us. Intake answers 503 meanwhile, and nothing is lost.",
)
def database_away(seen: Observation) -> Mapping[str, float]:
    return {"": 0.0}


@alarm_rule(
    "relay_missing",
    "1 while no relay is connected and gives signs of life",
    threshold=1,
    advice="Start `manage.py relay`, or read in its log why it ended, or what it is stuck in.",
)
def relay_missing(seen: Observation) -> Mapping[str, float]:
    return {"": float(not any(process.alive for process in seen.processes if process.kind == RELAY))}


@alarm_rule(
    "process_missing",
    "1 while no process of this kind gives signs of life",
    threshold=1,
    advice="Start it: the Procfile has its command. If it runs, its log says what it is stuck in; then end it.",
)
def process_missing(seen: Observation) -> Mapping[str, float]:
    return {process.kind: float(process.alive == 0) for process in seen.processes if process.kind != RELAY}


@alarm_rule(
    "worker_missing",
    "1 while nobody consumes the queue, or there is none",
    threshold=1,
    evaluations=2,
    advice="Start the worker of this group: `manage.py worker GROUP`. Without a queue: `manage.py declare_topology`.",
)
def worker_missing(seen: Observation) -> Mapping[str, float] | None:
    queues = _queues(seen)
    return None if queues is None else {queue.name: float(queue.consumers == 0) for queue in queues}


@alarm_rule(
    "queue_depth",
    "events that wait in the consumer's queue",
    threshold=1_000,
    clear=500,
    evaluations=3,
    advice="It gets more than it handles: read its worker's log, start more workers, or raise WORKER_PROCESSES.",
)
def queue_depth(seen: Observation) -> Mapping[str, float] | None:
    queues = _queues(seen)
    return None if queues is None else {queue.name: float(queue.ready or 0) for queue in queues}


@alarm_rule(
    "event_age",
    "seconds since the oldest published event that the consumer has not handled",
    threshold=300,
    clear=60,
    evaluations=3,
    advice="It waits in the consumer's queue, between two retries, or for a full queue: `manage.py bus_status`.",
)
def event_age(seen: Observation) -> Mapping[str, float]:
    now = database_time()
    # What the relay has not published is the relay's lag, not the consumers'.
    end = min(seen.lag.oldest or first_id_at(now), first_id_at(now))
    # Nothing that may still come can be older than this.
    sure = moment_of(end) - LATE_COMMIT
    with connection.cursor() as cursor:
        cursor.execute(OLDEST, [end, list(CONSUMERS)])
        found = cursor.fetchall()
        moments = [min(sure, moment_of(event_id)) if event_id else sure for _, _, event_id in found]
        cursor.execute(SETTLED, [[row_id for row_id, *_ in found], moments])
    ages: dict[str, float] = {}
    for _, consumer, event_id in found:
        ages[consumer] = max(ages.get(consumer, 0.0), seconds_since(event_id) if event_id else 0.0)
    return ages


@alarm_rule(
    "processing_latency",
    "seconds from an event to the commit of its effect, 95th percentile of the last minutes",
    threshold=30,
    clear=10,
    evaluations=3,
    advice="Events arrive late: see queue_depth and outbox_age first, then at how long the handler takes.",
)
def processing_latency(seen: Observation) -> Mapping[str, float]:
    with connection.cursor() as cursor:
        cursor.execute(LATENCY, [first_id_at(database_time() - RECENT)])
        return {consumer: max(0.0, float(seconds)) for consumer, seconds in cursor.fetchall()}


@alarm_rule(
    "outbox_age",
    "seconds since the oldest event that no relay has published; what waits for a full queue is not in it",
    threshold=60,
    clear=10,
    evaluations=2,
    advice="The relay's log says why: no broker, a broker in alarm (memory, disk), or too much for one relay.",
)
def outbox_age(seen: Observation) -> Mapping[str, float]:
    return {"": seen.lag.seconds}


@alarm_rule(
    "outbox_size",
    "events in the outbox",
    threshold=10_000,
    clear=1_000,
    evaluations=3,
    advice="As for outbox_age. At OUTBOX_LIMIT_ROWS intake answers 503 until it is shorter.",
)
def outbox_size(seen: Observation) -> Mapping[str, float]:
    return {"": float(seen.lag.rows)}


@alarm_rule(
    "queue_full",
    "events that wait in the outbox because this queue refuses more",
    threshold=1,
    evaluations=2,
    advice="Get its consumer going, or raise the limit. If nobody consumes it any more, delete it: docs/alarms.md.",
)
def queue_full(seen: Observation) -> Mapping[str, float]:
    return {queue: float(events) for queue, events in full_queues().items()}


@alarm_rule(
    "retries_refused",
    "retries that are due, and that the consumer's queue refuses: it is full, or gone",
    threshold=1,
    evaluations=2,
    advice="Get its consumer going, or raise the limit. If the consumer is gone for good, make dead letters of them: "
    "`manage.py cancel_retries --consumer NAME`.",
)
def retries_refused(seen: Observation) -> Mapping[str, float]:
    return {consumer: float(status.refused) for consumer, status in by_consumer().items()}


@alarm_rule(
    "queue_lost",
    "times in the last hour that the consumer's queue was gone",
    threshold=1,
    advice="Somebody deleted it: see the broker's log. It is declared again, and what it held is sent again: "
    "`manage.py replay_events --list`.",
)
def queue_lost(seen: Observation) -> Mapping[str, float]:
    with connection.cursor() as cursor:
        cursor.execute(LOST)
        return {consumer: float(times) for consumer, times in cursor.fetchall()}


@alarm_rule(
    "events_of_no_month",
    "events in the default partition: by their ids they are of the future, or of a month that was pruned",
    threshold=1,
    advice="Some clock is wrong, the database's perhaps. They are moved when their month is made: docs/archive.md.",
)
def events_of_no_month(seen: Observation) -> Mapping[str, float]:
    return {"": float(len(strays()))}


@alarm_rule(
    "archive_lag",
    "seconds since PostgreSQL last archived a piece of its WAL: what is newer would be lost with its disk",
    threshold=300,
    clear=120,
    evaluations=2,
    advice="PostgreSQL's log has what archive_command says; its disk fills up meanwhile, as the WAL is kept. If "
    "nothing fails, set archive_timeout = 60: docs/backup-and-restore.md.",
)
def archive_lag(seen: Observation) -> Mapping[str, float]:
    return {} if seen.backups is None else {"": seen.backups.archive_lag}


@alarm_rule(
    "backup_age",
    "hours since the last base backup was noted",
    threshold=26,
    advice="Look at what makes the backups, and make one by hand: docs/backup-and-restore.md.",
)
def backup_age(seen: Observation) -> Mapping[str, float]:
    if seen.backups is None:
        return {}
    return {"": NEVER if seen.backups.backup_age is None else seen.backups.backup_age / 3600}


@alarm_rule(
    "database_restored",
    "1 while the database was restored, or failed over, and nobody has compared it with the queues",
    threshold=1,
    advice="Stop web and workers and run `manage.py reconcile`: docs/backup-and-restore.md.",
)
def database_restored(seen: Observation) -> Mapping[str, float]:
    return {"": float(not is_reconciled())}


@alarm_rule(
    "dead_letters",
    "events that the consumer gave up and nobody has seen to",
    threshold=1,
    advice="Read why, repair the cause, then replay them or discard them with a reason.",
)
def dead_letters(seen: Observation) -> Mapping[str, float] | None:
    queues = _queues(seen)
    if queues is None:
        return None
    of_upkeep = DeadLetter.objects.filter(consumer=UPKEEP, state=DeadLetterState.OPEN).count()
    return {queue.name: float(queue.dead) for queue in queues} | {UPKEEP: float(of_upkeep)}


@alarm_rule(
    "dead_letters_dropped_soon",
    "open dead letters of the consumer that are dropped in two days or less",
    threshold=1,
    advice="Replay or discard them now: `manage.py list_dead_letters --consumer NAME` shows the oldest.",
)
def dead_letters_dropped_soon(seen: Observation) -> Mapping[str, float]:
    return dict(dropped_soon())
