"""What Prometheus reads: the totals of all processes, and gauges that are read from the database at each scrape.

Nobody asks the broker for it: of the queues it tells what the last sample has, which is ten seconds old at most.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from django.db.models import Count
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from eventbus.conf import bus_settings
from eventbus.db.sql import fetch
from eventbus.dead_letters.models import DeadLetter, DeadLetterState
from eventbus.declaration import CONSUMERS
from eventbus.heartbeats.processes import processes
from eventbus.metrics import totals
from eventbus.metrics.declaration import METRICS, SUM, Counter, Gauge, Histogram, gauge
from eventbus.monitoring.models import Alarm, AlarmState
from eventbus.monitoring.samples import COUNT_TO, EVERY, OUTBOX, STALE
from eventbus.relay.lag import outbox_lag
from eventbus.retries.queries import by_consumer

#: Of a total: the values of its labels, and the part of a histogram.
Place = tuple[str, str]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LATEST = """
SELECT consumer, ready, workers FROM bus_sample
WHERE seconds = %s AND consumer <> %s AND at = (
    SELECT max(at) FROM bus_sample WHERE seconds = %s AND at > clock_timestamp() - %s * interval '1 second'
)
"""


def exposition() -> bytes:
    """Every declared metric in Prometheus's text format. Raises DatabaseError."""
    registry = CollectorRegistry()
    registry.register(_Declared())
    return generate_latest(registry)


class _Declared:
    """A collector of the declared metrics."""

    def collect(self) -> Iterator[Metric]:
        found: defaultdict[str, dict[Place, float]] = defaultdict(dict)
        for (name, labels, part), value in totals.read().items():
            found[name][labels, part] = value
        for metric in METRICS.values():
            match metric:
                case Gauge():
                    yield _read(metric)
                case Histogram():
                    yield _distribution(metric, found[metric.name])
                case Counter():
                    yield _count(metric, found[metric.name])


def _read(metric: Gauge) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.read().items():
        values = (labels,) if isinstance(labels, str) else labels
        family.add_metric(values if metric.labels else (), value)
    return family


def _count(metric: Counter, found: Mapping[Place, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for (labels, _), value in found.items():
        family.add_metric(labels.split(), value)
    if not metric.labels and not family.samples:
        family.add_metric((), 0)
    return family


def _distribution(metric: Histogram, found: Mapping[Place, float]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels in sorted({labels for labels, _ in found}):
        buckets = [(bound, found.get((labels, bound), 0.0)) for bound in metric.buckets]
        family.add_metric(labels.split(), buckets, found.get((labels, SUM), 0.0))
    return family


def _latest() -> dict[str, tuple[int | None, int | None]]:
    return {consumer: (ready, workers) for consumer, ready, workers in fetch(LATEST, [EVERY, OUTBOX, EVERY, STALE])}


@gauge("eventbus_build_info", "Always 1: the version of the code that answers.", "version")
def build_info() -> Mapping[str, float]:
    return {bus_settings.CODE_VERSION: 1.0}


@gauge("eventbus_outbox_events", "Events that no relay has published yet.")
def outbox_events() -> Mapping[str, float]:
    return {"": float(outbox_lag(count_to=COUNT_TO).rows)}


@gauge("eventbus_outbox_age_seconds", "Age of the oldest event in the outbox that waits for no full queue.")
def outbox_age() -> Mapping[str, float]:
    return {"": outbox_lag(count_to=0).seconds}


@gauge("eventbus_queue_ready", "Events that wait in the consumer's queue.", "consumer")
def queue_ready() -> Mapping[str, float]:
    return {name: float(ready) for name, (ready, _) in _latest().items() if ready is not None}


@gauge("eventbus_queue_workers", "Workers that consume the queue.", "consumer")
def queue_workers() -> Mapping[str, float]:
    return {name: float(workers) for name, (_, workers) in _latest().items() if workers is not None}


@gauge("eventbus_retries_waiting", "Events that wait for their next attempt.", "consumer")
def retries_waiting() -> Mapping[str, float]:
    waiting = by_consumer()
    return {name: float(waiting[name].waiting) if name in waiting else 0.0 for name in CONSUMERS}


@gauge("eventbus_dead_letters_open", "Dead letters that nobody has settled.", "consumer")
def dead_letters_open() -> Mapping[str, float]:
    found = DeadLetter.objects.filter(state=DeadLetterState.OPEN).values_list("consumer").annotate(Count("pk"))
    return dict.fromkeys(CONSUMERS, 0.0) | {consumer: float(number) for consumer, number in found.order_by()}


@gauge(
    "eventbus_unhandled_age_seconds", "Age of the oldest published event not handled, when last evaluated.", "consumer"
)
def unhandled_age() -> Mapping[str, float]:
    return dict(Alarm.objects.filter(name="event_age").values_list("subject", "value"))


@gauge(
    "eventbus_alarm_firing",
    "1 while the alarm fires. What it measures and what to do: docs/alarms.md.",
    "alarm",
    "subject",
)
def alarm_firing() -> Mapping[tuple[str, ...], float]:
    found = Alarm.objects.values_list("name", "subject", "state")
    return {(name, subject): float(state == AlarmState.FIRING) for name, subject, state in found}


@gauge("eventbus_processes", "Processes of this kind that give signs of life.", "kind")
def processes_alive() -> Mapping[str, float]:
    return {process.kind: float(process.alive) for process in processes()}
