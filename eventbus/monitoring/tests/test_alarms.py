import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from eventbus.broker.topology import UPKEEP
from eventbus.heartbeats.processes import ProcessStatus
from eventbus.ids import first_id_at
from eventbus.monitoring import alarms, bus_rules
from eventbus.monitoring.alarms import evaluate, step
from eventbus.monitoring.models import Alarm, AlarmChange, AlarmEvaluation, AlarmNotice, AlarmState
from eventbus.monitoring.rules import RULES, Observation, Rule, alarm_rule
from eventbus.monitoring.status import BusStatus, QueueStatus
from eventbus.relay.lag import Lag, outbox_lag
from eventbus.relay.models import Outbox
from eventbus.subscriptions.models import Subscription
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def a_rule(**fields: object) -> Rule:
    depth = Rule("depth", "m", threshold=1_000, clear=500, evaluations=3, advice="a", measure=lambda seen: {})
    return replace(depth, **fields)  # type: ignore[arg-type]


def states(rule: Rule, *values: float) -> list[str]:
    alarm = Alarm(name=rule.name, subject="q", since=NOW)
    seen = []
    for value in values:
        step(rule, alarm, value, NOW)
        seen.append(str(alarm.state))
    return seen


class TestStates:
    def test_it_fires_after_three_evaluations_in_a_row(self) -> None:
        assert states(a_rule(), 1_000, 1_500, 1_000) == ["pending", "pending", "firing"]

    def test_one_evaluation_below_begins_anew(self) -> None:
        assert states(a_rule(), 1_000, 1_000, 999, 1_000, 1_000) == ["pending", "pending", "ok", "pending", "pending"]

    def test_a_value_that_wavers_around_the_threshold_is_one_alarm(self) -> None:
        assert states(a_rule(evaluations=1), 1_000, 999, 1_001, 500, 499) == ["firing"] * 4 + ["ok"]

    def test_without_more_evaluations_it_fires_at_once(self) -> None:
        assert states(a_rule(threshold=1, clear=1, evaluations=1), 0, 1, 0) == ["ok", "firing", "ok"]

    def test_people_are_told_of_firing_and_of_its_end_and_of_nothing_else(self) -> None:
        alarm = Alarm(name="depth", subject="q", since=NOW)
        values = [1_000, 1_000, 1_000, 1_000, 700, 100, 1_000, 0]
        assert [step(a_rule(), alarm, value, NOW) for value in values] == [
            False, False, True, False, False, True, False, False,
        ]  # fmt: skip

    def test_since_is_when_the_state_began(self) -> None:
        alarm = Alarm(name="depth", subject="q", since=NOW)
        for minute in range(5):
            step(a_rule(), alarm, 2_000, NOW + timedelta(minutes=minute))
        assert alarm.since == NOW + timedelta(minutes=2)
        assert alarm.evaluated_at == NOW + timedelta(minutes=4)


@pytest.fixture
def measured() -> Iterator[dict[str, float] | None]:
    """What the one rule of these tests measures, by subject; empty it to measure nothing."""
    values: dict[str, float] = {}
    known = a_rule(measure=lambda seen: None if "unknown" in values else values)
    seen = Observation(Lag(0, 0.0, None), BusStatus(0, 0.0, 1, []))
    with patch.dict(RULES, {"depth": known}, clear=True), patch.object(alarms, "observe", lambda: seen):
        yield values


class TestEvaluating:
    def test_states_are_remembered_from_one_evaluation_to_the_next(self, measured: dict[str, float]) -> None:
        measured["a.b"] = 2_000
        for _ in range(3):
            evaluate()
        alarm = Alarm.objects.get()
        assert (alarm.state, alarm.count, alarm.value) == (AlarmState.FIRING, 3, 2_000)

    def test_a_subject_that_is_measured_no_more_is_at_zero(self, measured: dict[str, float]) -> None:
        measured["a.b"] = 2_000
        for _ in range(3):
            evaluate()
        measured.clear()
        evaluate()
        assert Alarm.objects.get().state == AlarmState.OK

    def test_what_cannot_be_measured_stays_as_it_was(self, measured: dict[str, float]) -> None:
        measured["a.b"] = 2_000
        for _ in range(3):
            evaluate()
        measured["unknown"] = 1
        evaluate()
        assert Alarm.objects.get().state == AlarmState.FIRING

    def test_a_rule_that_is_broken_does_not_silence_the_others(self, measured: dict[str, float]) -> None:
        def broken(seen: Observation) -> dict[str, float]:
            raise KeyError("its own fault")

        measured["a.b"] = 2_000
        with patch.dict(RULES, {"a_broken_one": a_rule(name="a_broken_one", measure=broken)}):
            evaluate()
        assert Alarm.objects.get().count == 1

    def test_it_is_one_watchers_turn_in_half_a_minute(self) -> None:
        assert [alarms.is_due(), alarms.is_due()] == [True, False]
        AlarmEvaluation.objects.update(begun_at=datetime.now(UTC) - timedelta(seconds=29))
        assert alarms.is_due()

    def test_what_fires_comes_first(self, measured: dict[str, float]) -> None:
        measured.update({"a.a": 0, "z.z": 2_000})
        evaluate()
        evaluate()
        measured["m.m"] = 2_000
        found = evaluate()
        assert [(alarm.subject, alarm.state) for alarm in found] == [
            ("z.z", "firing"),
            ("m.m", "pending"),
            ("a.a", "ok"),
        ]

    def test_each_change_is_kept_whoever_is_notified(self, measured: dict[str, float]) -> None:
        for value in (2_000, 2_000, 2_000, 2_000, 0):
            measured["a.b"] = value
            evaluate()
        assert list(AlarmChange.objects.order_by("pk").values_list("subject", "state")) == [
            ("a.b", "firing"),
            ("a.b", "ok"),
        ]
        assert not AlarmNotice.objects.exists()

    def test_a_change_is_noted_once_for_each_channel(self, measured: dict[str, float], settings: Any) -> None:
        settings.EVENTBUS_ALARM_EMAIL, settings.EVENTBUS_ALARM_WEBHOOK_URL = (
            ["ops@shop.example"],
            "http://127.0.0.1:1/hook",
        )
        measured["a.b"] = 2_000
        for _ in range(5):
            evaluate()
        measured["a.b"] = 0
        evaluate()
        evaluate()
        told = AlarmNotice.objects.order_by("id").values_list("channel", "state")
        assert sorted(told) == [("mail", "firing"), ("mail", "ok"), ("webhook", "firing"), ("webhook", "ok")]

    def test_a_dry_run_stores_nothing(self, measured: dict[str, float]) -> None:
        measured["a.b"] = 2_000
        evaluate(dry_run=True)
        assert not Alarm.objects.exists()

    def test_the_alarms_of_a_rule_that_is_gone_are_gone(self, measured: dict[str, float]) -> None:
        Alarm.objects.create(name="old_rule", subject="", state="firing", since=NOW, evaluated_at=NOW)
        measured["a.b"] = 0
        evaluate()
        assert not Alarm.objects.filter(name="old_rule").exists()

    def test_the_command_says_by_its_exit_code_whether_something_fires(
        self, measured: dict[str, float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        measured["a.b"] = 2_000
        call_command("check_alarms", "--json")
        call_command("check_alarms", "--json")
        capsys.readouterr()
        with pytest.raises(SystemExit, match="1"):
            call_command("check_alarms", "--json")
        report = json.loads(capsys.readouterr().out)
        assert report["firing"] == 1
        assert {name: report["alarms"][0][name] for name in ("alarm", "subject", "state", "value", "threshold")} == {
            "alarm": "depth", "subject": "a.b", "state": "firing", "value": 2_000, "threshold": 1_000,
        }  # fmt: skip

    def test_the_table_for_people_says_what_to_do(
        self, measured: dict[str, float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        measured["a.b"] = 2_000
        call_command("check_alarms")
        call_command("check_alarms")
        with pytest.raises(SystemExit):
            call_command("check_alarms")
        assert "depth: m. a" in capsys.readouterr().out

    def test_admin_shows_what_fires_first(self, measured: dict[str, float], admin_client: Client) -> None:
        measured.update({"a.a": 0, "z.z": 2_000})
        for _ in range(3):
            evaluate()
        page = admin_client.get("/admin/eventbus/alarm/").content.decode()
        assert page.index("z.z") < page.index("a.a")
        assert "firing" in page

    def test_admin_lets_nobody_change_an_alarm(self, admin_user: User, admin_client: Client) -> None:
        Alarm.objects.create(name="depth", subject="", since=NOW, evaluated_at=NOW)
        assert admin_client.get("/admin/eventbus/alarm/add/").status_code == 403
        assert admin_client.post(f"/admin/eventbus/alarm/{Alarm.objects.get().pk}/delete/").status_code == 403


class TestDeclaring:
    @pytest.fixture(autouse=True)
    def no_rules(self) -> Iterator[None]:
        with patch.dict(RULES, clear=True):
            yield

    def test_a_name_is_used_once(self) -> None:
        declare = alarm_rule("twice", "m", threshold=1, advice="a")
        declare(lambda seen: {})
        with pytest.raises(ValueError, match="declared twice"):
            declare(lambda seen: {})

    def test_an_alarm_ends_at_or_below_where_it_begins(self) -> None:
        with pytest.raises(ValueError, match="clear is at most the threshold"):
            alarm_rule("odd", "m", threshold=1, clear=2, advice="a")


def seen(queues: list[QueueStatus] | None = None, *, alive: dict[str, int] | None = None) -> Observation:
    bus = None if queues is None else BusStatus(0, 0.0, 1, queues)
    processes = [ProcessStatus(kind, number, 1.0 if number else 60.0) for kind, number in (alive or {}).items()]
    return Observation(outbox_lag(count_to=1_000), bus, "", processes)


def event(age: float, key: str = "parcel.sent") -> UUID:
    """An archived event of that age, in seconds."""
    event_id = UUID(int=first_id_at(datetime.now(UTC) - timedelta(seconds=age)).int + uuid4().int % 2**80)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, "
            "correlation_id, data) VALUES (%s, %s, '1.0', 'parcel', %s, 1, now(), 'c', '{}')",
            [event_id, key, str(event_id)],
        )
    return event_id


def done(event_id: UUID, consumer: str = "parcel.track", *, after: float = 0) -> None:
    moment = datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC) + timedelta(seconds=after)
    ProcessedEvent.objects.create(event_id=event_id, consumer=consumer, processed_at=moment)


class TestRules:
    @pytest.fixture(autouse=True)
    def listens(self) -> None:
        for consumer in ("parcel.track", "parcel.track_all"):
            Subscription.objects.create(consumer=consumer, routing_key="parcel.sent.v1")
        Subscription.objects.update(since=datetime.now(UTC) - timedelta(days=3))

    def test_the_queues(self) -> None:
        now = seen([QueueStatus("a.b", 1_500, 2, 0), QueueStatus("c.d", None, 0, 4)])
        assert bus_rules.queue_depth(now) == {"a.b": 1_500, "c.d": 0}
        assert bus_rules.worker_missing(now) == {"a.b": 0, "c.d": 1}
        assert bus_rules.dead_letters(now) == {"a.b": 0, "c.d": 4, UPKEEP: 0}
        assert bus_rules.broker_away(now) == {"": 0}

    def test_a_broker_that_is_away_says_nothing_of_its_queues(self) -> None:
        now = seen(None)
        assert bus_rules.broker_away(now) == {"": 1}
        unknown = (bus_rules.queue_depth, bus_rules.worker_missing, bus_rules.dead_letters)
        assert [measure(now) for measure in unknown] == [None, None, None]

    @pytest.mark.parametrize(("relays", "missing"), [(0, 1), (1, 0), (2, 0)])
    def test_a_missing_relay(self, relays: int, missing: int) -> None:
        assert bus_rules.relay_missing(seen(None, alive={"relay": relays, "beat": 1})) == {"": missing}

    def test_a_missing_process_of_another_kind(self) -> None:
        now = seen(None, alive={"relay": 0, "beat": 0, "worker_parcel": 2})
        assert bus_rules.process_missing(now) == {"beat": 1, "worker_parcel": 0}

    def test_the_oldest_event_of_each_consumer(self) -> None:
        first, second = event(200), event(100)
        done(first)
        ages = bus_rules.event_age(seen([]))
        assert ages == {"parcel.track": pytest.approx(100, abs=5), "parcel.track_all": pytest.approx(200, abs=5)}
        done(second)
        assert bus_rules.event_age(seen([]))["parcel.track"] == 0

    def test_events_of_other_types_are_nobodys_lag(self) -> None:
        event(200, "nobody.cares")
        assert set(bus_rules.event_age(seen([])).values()) == {0}

    def test_a_dead_letter_is_an_alarm_of_its_own_and_no_lag(self) -> None:
        lost = event(200)
        for consumer in ("parcel.track", "parcel.track_all"):
            ProcessedEvent.objects.create(event_id=lost, consumer=consumer, outcome="dead", processed_at=NOW)
        assert set(bus_rules.event_age(seen([])).values()) == {0}

    def test_what_no_relay_has_published_is_the_relays_lag(self) -> None:
        Outbox.objects.create(event_id=event(500), aggregate_id="a")
        event(400)
        now = seen([])
        assert set(bus_rules.event_age(now).values()) == {0}
        assert bus_rules.outbox_age(now) == {"": pytest.approx(500, abs=5)}
        assert bus_rules.outbox_size(now) == {"": 1}

    def test_what_waits_for_a_full_queue_is_that_queues_and_its_consumers_trouble(self) -> None:
        Outbox.objects.create(event_id=event(500), aggregate_id="a", blocked_key="parcel.sent.v1")
        now = seen([])
        assert bus_rules.queue_full(now) == {"parcel.sent.v1": 1}
        assert bus_rules.event_age(now)["parcel.track"] == pytest.approx(500, abs=5)
        assert bus_rules.outbox_age(now) == {"": 0}

    def test_the_search_begins_where_the_last_one_ended(self) -> None:
        old = event(1_000)
        done(old)
        done(old, "parcel.track_all")
        bus_rules.event_age(seen([]))
        for watermark in Subscription.objects.values_list("watermark", flat=True):
            assert watermark is not None
            assert timedelta(seconds=110) < datetime.now(UTC) - watermark < timedelta(seconds=130)
        waits = event(90)
        assert bus_rules.event_age(seen([]))["parcel.track"] == pytest.approx(90, abs=5)
        done(waits)
        assert bus_rules.event_age(seen([]))["parcel.track"] == 0

    def test_the_search_never_passes_an_event_that_is_not_handled(self) -> None:
        event(1_000)
        for _ in range(3):
            assert bus_rules.event_age(seen([]))["parcel.track"] == pytest.approx(1_000, abs=5)

    def test_how_long_events_take_until_they_are_handled(self) -> None:
        for after in [1] * 18 + [40] * 2:
            done(event(60), after=after)
        latency = bus_rules.processing_latency(seen([]))
        assert latency == {"parcel.track": pytest.approx(40, abs=1)}

    def test_events_of_long_ago_are_not_todays_latency(self) -> None:
        done(event(3_600), after=3_000)
        assert bus_rules.processing_latency(seen([])) == {}

    def test_every_rule_says_what_to_do(self) -> None:
        assert len(RULES) >= 10
        for each in RULES.values():
            assert each.measures
            assert each.advice.endswith((".", "`"))
