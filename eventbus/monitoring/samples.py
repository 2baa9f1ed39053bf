"""Samples: every ten seconds, what each consumer has done since the last one, and what waits for it.

One watcher at a time takes them, whichever comes first. Nothing is written while events are handled: what is new in the
inbox lies at the end of its tables, and only there is read. New is what the last sample could not see, so that each row
counts once, however long its transaction took.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import transaction

from eventbus.db.sql import fetch, quoted
from eventbus.declaration import CONSUMERS
from eventbus.ids import AGE_AT_HANDLING, first_id_at
from eventbus.metrics import totals
from eventbus.metrics.catalogue import AGE, DEAD, PROCESSED, RECORDED
from eventbus.monitoring.models import Sample
from eventbus.monitoring.status import BusStatus, bus_status_or_error
from eventbus.relay.lag import Lag, outbox_lag

#: Seconds of a sample, and of the one that thirty are put together to.
EVERY, COARSE = 10, 300
#: Seconds after which the next one is taken.
DUE_AFTER = EVERY
KEEP_FINE, KEEP_COARSE = timedelta(days=1), timedelta(days=14)
#: The subject of the sample of the outbox.
OUTBOX = ""
COUNT_TO = 100_000
#: Seconds after which a sample says nothing of now.
STALE = 45
#: Samples whose ends are remembered: what a transaction wrote that began before all of them may be missed.
MOST_MARKS = 12
#: An event is committed so soon after it got its id, or it may be missed.
COMMIT_WITHIN = timedelta(seconds=30)
#: The snapshot of somebody who sees everything that will ever be.
ALL_SEEN = "9223372036854775807:9223372036854775807:"
#: Several transactions fill the last pages of a table at the same time.
SLACK_PAGES = 64
#: Older ones are replayed: their age says nothing of how the consumer is doing.
LIVE_AGE = 86_400

BEGIN = """
INSERT INTO bus_sampling (id, taken_at) SELECT 1, clock_timestamp()
WHERE NOT EXISTS (SELECT FROM bus_sampling) ON CONFLICT DO NOTHING
"""
IS_DUE = "SELECT 1 FROM bus_sampling WHERE taken_at <= clock_timestamp() - %s * interval '1 second'"
CLAIM = """
SELECT taken_at, snapshot, marks::text, clock_timestamp() FROM bus_sampling
WHERE taken_at <= clock_timestamp() - %s * interval '1 second' FOR UPDATE SKIP LOCKED
"""
NOTE = "UPDATE bus_sampling SET taken_at = %s, snapshot = %s, marks = %s"
PAGES = """
SELECT relid::regclass::text, pg_relation_size(relid) / current_setting('block_size')::int
FROM pg_partition_tree('processed_event') WHERE isleaf
"""
# A row has the 32 lower bits of its transaction's number. The whole number is the last one at or below the next that
# will be given out. Few lie between the snapshot's ends, where it has to be asked.
_NEXT = "(SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"
_XID = f"({_NEXT} - (({_NEXT} - {{row}}.xmin::text::bigint) & 4294967295))"
IS_NEW = f"""({_XID} >= %(xmax)s OR {_XID} >= %(xmin)s
    AND NOT pg_visible_in_snapshot({_XID}::text::xid8, %(snapshot)s::pg_snapshot))"""
HANDLED = f"""
SELECT consumer, outcome, attempts, {AGE_AT_HANDLING} AS age FROM {{table}} AS p
WHERE p.ctid >= '({{page}},0)'::tid AND {IS_NEW.format(row="p")}
"""
_LIVE = f"outcome = 'done' AND age < {LIVE_AGE}"
# All that is counted is seen by one snapshot, with which the next sample begins.
NEW = f"""
WITH handled AS MATERIALIZED ({{handled}}),
work AS (
    SELECT consumer, count(*) FILTER (WHERE outcome = 'done') AS done,
           count(*) FILTER (WHERE outcome = 'done' AND attempts > 1) AS retried,
           count(*) FILTER (WHERE outcome = 'dead') AS dead,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY greatest(age, 0)) FILTER (WHERE {_LIVE}) AS ages,
           coalesce(sum(greatest(age, 0)) FILTER (WHERE {_LIVE}), 0) AS seconds,
           ARRAY[{", ".join(f"count(*) FILTER (WHERE {_LIVE} AND age <= {bound})" for bound in AGE.bounds)},
                 count(*) FILTER (WHERE {_LIVE})] AS by_age
    FROM handled GROUP BY consumer
),
recorded AS (
    SELECT e.type, count(*) AS events FROM event AS e
    WHERE e.id >= %(since)s AND {IS_NEW.format(row="e")} GROUP BY e.type
)
SELECT pg_current_snapshot()::text, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       coalesce((SELECT jsonb_agg(work) FROM work), '[]')::text,
       coalesce((SELECT jsonb_object_agg(type, events) FROM recorded), '{{{{}}}}')::text
"""
PUT_TOGETHER = """
INSERT INTO bus_sample (at, seconds, consumer, ready, workers, retrying, done, retried, dead, age_p50, age_p95)
SELECT bucket + interval '300 seconds', 300, consumer, max(ready), min(workers), max(retrying), sum(done), sum(retried),
       sum(dead), avg(age_p50), max(age_p95)
FROM (SELECT *, date_bin('300 seconds', at - interval '1 microsecond', 'epoch') AS bucket FROM bus_sample
      WHERE seconds = 10 AND at > %(since)s AND at <= %(until)s) AS fine
GROUP BY bucket, consumer
ON CONFLICT DO NOTHING
"""
FORGET = "DELETE FROM bus_sample WHERE seconds = %s AND at <= %s"


@dataclass(frozen=True, slots=True)
class Work:
    """What a consumer did in the time of a sample; ages in seconds. `by_age`: how many up to each bound of AGE."""

    done: int | None = None
    retried: int = 0
    dead: int = 0
    ages: Sequence[float] | None = None
    seconds: float = 0.0
    by_age: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """How many pages the inbox's tables had before a transaction with this number or a later one could write."""

    xid: int
    pages: dict[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What has come since the last sample, and where the next one begins."""

    snapshot: str
    work: dict[str, Work]
    recorded: dict[str, int]
    marks: list[Mark]


def take_if_due() -> bool:
    """Take a sample, if it is time and nobody else is at it; whether one was taken. Raises DatabaseError."""
    if not fetch(IS_DUE, [DUE_AFTER]):
        fetch(BEGIN)
        return False
    # Outside the transaction: a broker that hangs holds nothing up but this.
    bus, _ = bus_status_or_error()
    lag = outbox_lag(count_to=COUNT_TO)
    with transaction.atomic():
        claimed = fetch(CLAIM, [DUE_AFTER])
        if not claimed:
            return False
        ((since, snapshot, marks, until),) = claimed
        seen = _look(snapshot, [Mark(**mark) for mark in json.loads(marks)], since)
        samples = [_of_outbox(lag, sum(seen.recorded.values()), until), *_of_consumers(bus, seen.work, until)]
        Sample.objects.bulk_create(samples, ignore_conflicts=True)
        totals.add(_totals(seen))
        fetch(NOTE, [until, seen.snapshot, json.dumps([*map(asdict, seen.marks)])])
        _keep_house(since, until)
    return True


def _look(snapshot: str, marks: list[Mark], since: datetime) -> Seen:
    """What was committed since the last snapshot: of the inbox, by the pages that its tables have grown by."""
    # Before the snapshot: what it can't see is written from here on.
    grown = dict(fetch(PAGES))
    oldest_at_work, following = map(int, (snapshot or ALL_SEEN).split(":")[:2])
    first = marks[0] if marks else Mark(0, grown)
    begins = next((mark for mark in reversed(marks) if mark.xid <= oldest_at_work), first)
    statement = NEW.format(handled=" UNION ALL ".join(_from(table, begins.pages.get(table, 0)) for table in grown))
    params = {
        "snapshot": snapshot or ALL_SEEN,
        "xmin": oldest_at_work,
        "xmax": following,
        "since": first_id_at(since - COMMIT_WITHIN),
    }
    ((seen, xid, work, recorded),) = fetch(statement, params)
    later = [mark for mark in marks if mark.xid >= begins.xid]
    return Seen(
        seen,
        {each.pop("consumer"): Work(**each) for each in json.loads(work)},
        json.loads(recorded),
        [*later, Mark(xid, grown)][-MOST_MARKS:],
    )


def _from(table: str, page: int) -> str:
    """What is new in one of the inbox's tables from a page on."""
    return HANDLED.format(table=quoted(*table.replace('"', "").split(".")), page=max(0, page - SLACK_PAGES))


def _totals(seen: Seen) -> dict[totals.Key, float]:
    added: dict[totals.Key, float] = {RECORDED.key([name]): events for name, events in seen.recorded.items()}
    for consumer, did in seen.work.items():
        added |= {PROCESSED.key([consumer]): did.done or 0, DEAD.key([consumer]): did.dead}
        added |= AGE.parts([consumer], did.by_age, did.seconds)
    return added


def _of_outbox(lag: Lag, recorded: int, until: datetime) -> Sample:
    return Sample(
        at=until,
        seconds=EVERY,
        consumer=OUTBOX,
        ready=lag.rows,
        done=recorded,
        age_p50=lag.seconds,
        age_p95=lag.seconds,
    )


def _of_consumers(bus: BusStatus | None, work: dict[str, Work], until: datetime) -> list[Sample]:
    queues = {queue.name: queue for queue in bus.queues} if bus else {}
    retries = bus.retries if bus else {}
    samples = []
    for name in sorted({*CONSUMERS, *work}):
        queue, did = queues.get(name), work.get(name, Work(done=0))
        waiting = retries.get(name)
        samples.append(
            Sample(
                at=until,
                seconds=EVERY,
                consumer=name,
                ready=queue.ready if queue else None,
                workers=queue.consumers if queue else None,
                retrying=waiting.waiting if waiting else 0,
                done=did.done,
                retried=did.retried,
                dead=did.dead,
                age_p50=did.ages[0] if did.ages else None,
                age_p95=did.ages[1] if did.ages else None,
            )
        )
    return samples


def _keep_house(since: datetime, until: datetime) -> None:
    """Whenever five minutes are over put their samples together, and drop what is too old."""
    bucket = _bucket(until)
    if _bucket(since) == bucket:
        return
    fetch(PUT_TOGETHER, {"since": bucket - timedelta(seconds=2 * COARSE), "until": bucket})
    fetch(FORGET, [EVERY, until - KEEP_FINE])
    fetch(FORGET, [COARSE, until - KEEP_COARSE])


def _bucket(moment: datetime) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // COARSE * COARSE, moment.tzinfo)
