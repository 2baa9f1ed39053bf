"""Samples: every ten seconds, what each consumer has done since the last one, and what waits for it.

One watcher at a time takes them, whichever comes first. Nothing is written while events are handled: what is new in the
inbox lies at the end of its tables, and only there is read.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from eventbus.db.sql import fetch, quoted
from eventbus.declaration import CONSUMERS
from eventbus.ids import AGE_AT_HANDLING, first_id_at
from eventbus.monitoring.models import Sample
from eventbus.monitoring.status import BusStatus, bus_status_or_error
from eventbus.relay.lag import Lag, outbox_lag

#: Seconds of a sample, and of the one that thirty are put together to.
EVERY, COARSE = 10, 300
KEEP_FINE, KEEP_COARSE = timedelta(days=1), timedelta(days=14)
#: The subject of the sample of the outbox.
OUTBOX = ""
COUNT_TO = 100_000
#: What was begun so many seconds ago has ended, or counts nowhere: it is a sample.
IN_FLIGHT = 2
DUE_AFTER = EVERY + IN_FLIGHT
#: Several transactions fill the last pages of a table at the same time.
SLACK_PAGES = 64
#: Older ones are replayed: their age says nothing of how the consumer is doing.
LIVE_AGE = 86_400

BEGIN = """
INSERT INTO bus_sampling (id, taken_at, pages) SELECT 1, clock_timestamp(), 'null'
WHERE NOT EXISTS (SELECT FROM bus_sampling) ON CONFLICT DO NOTHING
"""
IS_DUE = "SELECT 1 FROM bus_sampling WHERE taken_at <= clock_timestamp() - %s * interval '1 second'"
CLAIM = """
SELECT taken_at, pages::text, clock_timestamp() - %s * interval '1 second' FROM bus_sampling
WHERE taken_at <= clock_timestamp() - %s * interval '1 second' FOR UPDATE SKIP LOCKED
"""
NOTE = "UPDATE bus_sampling SET taken_at = %s, pages = %s"
PAGES = """
SELECT relid::regclass::text, pg_relation_size(relid) / current_setting('block_size')::int
FROM pg_partition_tree('processed_event') WHERE isleaf
"""
NEW = f"""
SELECT consumer, outcome, attempts, {AGE_AT_HANDLING} AS age FROM {{table}}
WHERE ctid >= '({{page}},0)'::tid AND processed_at > %(since)s AND processed_at <= %(until)s
"""
DONE = f"""
SELECT consumer, count(*) FILTER (WHERE outcome = 'done'),
       count(*) FILTER (WHERE outcome = 'done' AND attempts > 1), count(*) FILTER (WHERE outcome = 'dead'),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY greatest(age, 0))
           FILTER (WHERE outcome = 'done' AND age < {LIVE_AGE})
FROM ({{new}}) AS new GROUP BY consumer
"""
RECORDED = "SELECT count(*) FROM event WHERE id >= %s AND id < %s"
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
    """What a consumer did in the time of a sample; ages in seconds."""

    done: int | None = None
    retried: int = 0
    dead: int = 0
    age_p50: float | None = None
    age_p95: float | None = None


def take_if_due() -> bool:
    """Take a sample, if it is time and nobody else is at it; whether one was taken. Raises DatabaseError."""
    if not fetch(IS_DUE, [DUE_AFTER]):
        fetch(BEGIN)
        return False
    # Outside the transaction: a broker that hangs holds nothing up but this.
    bus, _ = bus_status_or_error()
    lag = outbox_lag(count_to=COUNT_TO)
    with transaction.atomic():
        claimed = fetch(CLAIM, [IN_FLIGHT, DUE_AFTER])
        if not claimed:
            return False
        ((since, pages, until),) = claimed
        grown = dict(fetch(PAGES))
        work = _work(json.loads(pages), grown, since, until)
        recorded = fetch(RECORDED, [first_id_at(since), first_id_at(until)])[0][0]
        samples = [_of_outbox(lag, recorded, until), *_of_consumers(bus, work, until)]
        Sample.objects.bulk_create(samples, ignore_conflicts=True)
        fetch(NOTE, [until, json.dumps(grown)])
        _keep_house(since, until)
    return True


def _work(before: dict[str, int] | None, grown: dict[str, int], since: datetime, until: datetime) -> dict[str, Work]:
    """What each consumer did; by the pages that the inbox's tables have grown by."""
    if before is None:
        return {}
    new = [
        NEW.format(table=quoted(*table.replace('"', "").split(".")), page=max(0, before.get(table, 0) - SLACK_PAGES))
        for table, pages in grown.items()
        if pages
    ]
    if not new:
        return {}
    found = fetch(DONE.format(new=" UNION ALL ".join(new)), {"since": since, "until": until})
    return {
        consumer: Work(done, retried, dead, *(ages or (None, None))) for consumer, done, retried, dead, ages in found
    }


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
                age_p50=did.age_p50,
                age_p95=did.age_p95,
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
