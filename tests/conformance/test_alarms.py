"""The alarms and the system checks against a real broker."""

import json
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent, TroubleAsked

pytestmark = pytest.mark.live


def alarms(bus: LiveBus) -> dict[tuple[str, str], str]:
    """The states after one more evaluation."""
    done = bus.run("manage.py", "check_alarms", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (1 if report["firing"] else 0), done.stderr
    return {(each["alarm"], each["subject"]): each["state"] for each in report["alarms"]}


def test_a_thousand_waiting_events_fire_at_the_third_evaluation_and_clear_when_handled(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    with transaction.atomic():
        publish(*[ProbeSent(probe_id=uuid4()) for _ in range(1_000)])
    live_bus.wait_for(lambda: live_bus.wire.ready("probe.count") >= 1_000, "the queue to fill")
    depth, missing = ("queue_depth", "probe.count"), ("worker_missing", "probe.count")
    seen = [alarms(live_bus) for _ in range(3)]
    assert [each[depth] for each in seen] == ["pending", "pending", "firing"]
    assert [each[missing] for each in seen] == ["pending", "firing", "firing"]
    assert seen[-1]["relay_missing", ""] == "ok"

    live_bus.ensure("worker probe")
    live_bus.drain()
    cleared = alarms(live_bus)
    assert (cleared[depth], cleared[missing]) == ("ok", "ok")


def test_a_dead_letter_fires_at_once(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker trouble")
    with transaction.atomic():
        (event_id,) = publish(TroubleAsked(trouble_id=uuid4(), how="give up"))
    live_bus.wait_for(lambda: live_bus.outcome("trouble.obey", event_id) == "dead", "the dead letter")
    live_bus.wait_for(lambda: live_bus.wire.ready("trouble.obey.dead") > 0, "the letter to arrive")
    assert alarms(live_bus)["dead_letters", "trouble.obey"] == "firing"
    with live_bus.wire.channel() as channel:
        channel.queue_purge("trouble.obey.dead")
    assert alarms(live_bus)["dead_letters", "trouble.obey"] == "ok"


def test_the_periodic_task_evaluates_too(live_bus: LiveBus) -> None:
    live_bus.ensure("worker eventbus")
    ((before,),) = live_bus.query("SELECT coalesce(max(evaluated_at), '2000-01-01') FROM alarm")
    done = live_bus.run("-m", "celery", "-A", "config", "call", "eventbus.check_alarms")
    assert done.returncode == 0, done.stderr
    live_bus.wait_for(
        lambda: live_bus.query("SELECT count(*) > 0 FROM alarm WHERE evaluated_at > %s", before) == [(True,)],
        "an evaluation",
    )


def test_the_checks_name_queues_that_are_missing_or_drifted(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    live_bus.kill9("relay")  # it would put the queues back
    good = live_bus.run("manage.py", "check", "--deploy", "--tag", "bus")
    assert good.returncode == 0, good.stderr
    with live_bus.wire.channel() as channel:
        channel.queue_delete("probe.count")
        channel.queue_delete("probe.audit")
        channel.queue_declare("probe.audit", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    try:
        bad = live_bus.run("manage.py", "check", "--deploy", "--tag", "bus")
        assert bad.returncode == 1
        assert "There is no queue probe.count" in bad.stderr
        assert "The queue probe.audit has other arguments" in bad.stderr
        assert "eventbus.E013" in bad.stderr
        assert "eventbus.E014" in bad.stderr
        assert live_bus.wire.ready("probe.audit") == 0, "it was drained or deleted"
    finally:
        with live_bus.wire.channel() as channel:
            channel.queue_delete("probe.audit")
        live_bus.manage("declare_topology")
