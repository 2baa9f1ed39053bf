"""The text that Prometheus reads, by its own parser."""

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample as Line

from eventbus.metrics import totals
from eventbus.metrics.catalogue import CONFIRMED, PROCESSED, RUN
from eventbus.metrics.declaration import METRICS
from eventbus.monitoring.metrics import exposition
from eventbus.monitoring.models import Alarm, AlarmState, Sample
from eventbus.tests.builders import happened
from eventbus.tests.samples import track

pytestmark = pytest.mark.django_db(transaction=True)


def scraped() -> dict[str, list[Line]]:
    """Lines by the name of their metric."""
    text = exposition().decode()
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def value(name: str, **labels: str) -> float:
    (found,) = [
        line.value for lines in scraped().values() for line in lines if (line.name, line.labels) == (name, labels)
    ]
    return float(found)


def test_every_declared_metric_is_there() -> None:
    assert scraped().keys() == {name.removesuffix("_total") for name in METRICS}


def test_totals_are_those_of_all_processes() -> None:
    totals.flush()
    before = value("eventbus_messages_confirmed_total")
    CONFIRMED.add(3)
    PROCESSED.add(2, track.name)
    totals.flush()
    CONFIRMED.add(1)
    totals.flush()
    assert value("eventbus_messages_confirmed_total") == before + 4
    assert value("eventbus_events_processed_total", consumer=track.name) == 2


def test_a_distribution_is_whole() -> None:
    for seconds in (0.003, 0.3, 4_000.0):
        RUN.observe(seconds, track.name)
    totals.flush()
    assert value("eventbus_run_seconds_bucket", consumer=track.name, le="0.005") == 1
    assert value("eventbus_run_seconds_bucket", consumer=track.name, le="0.5") == 2
    assert value("eventbus_run_seconds_bucket", consumer=track.name, le="+Inf") == 3
    assert value("eventbus_run_seconds_count", consumer=track.name) == 3
    assert value("eventbus_run_seconds_sum", consumer=track.name) == pytest.approx(4_000.303)


def test_gauges_are_read_when_somebody_asks() -> None:
    happened(1)
    now = timezone.now()
    Sample.objects.create(at=now, seconds=10, consumer=track.name, ready=7, workers=2)
    firing = {"state": AlarmState.FIRING, "value": 301, "since": now, "evaluated_at": now}
    Alarm.objects.create(name="event_age", subject=track.name, **firing)
    assert value("eventbus_queue_ready", consumer=track.name) == 7
    assert value("eventbus_queue_workers", consumer=track.name) == 2
    assert value("eventbus_unhandled_age_seconds", consumer=track.name) == 301
    assert value("eventbus_alarm_firing", alarm="event_age", subject=track.name) == 1
    assert value("eventbus_outbox_events") == 0
    assert value("eventbus_processes", kind="relay") == 0


def test_what_was_sampled_long_ago_is_left_out() -> None:
    Sample.objects.create(at=timezone.now() - timedelta(minutes=2), seconds=10, consumer=track.name, ready=7)
    assert not scraped()["eventbus_queue_ready"]
