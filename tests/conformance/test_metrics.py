"""What Prometheus reads of a pipeline at work, and that rules and dashboard ask for nothing else."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from django.db import transaction
from prometheus_client.parser import text_string_to_metric_families

from eventbus import publish
from script._lib.waiting import comes_true
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tests.testapp.events import ProbeSent, TroubleAsked
from tools.harness.debian import program
from tools.harness.shop import Shop

pytestmark = pytest.mark.live

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana/dashboard.json"
TOKEN = "metrics-of-a-test"
#: Of the scraper itself.
OF_PROMETHEUS = {"up"}
#: What one line of the text says: a name and its labels.
Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def no_holes(live_bus: LiveBus) -> None:
    """Other tests leave holes in the inbox. What goes into those no sample sees: docs/metrics.md."""
    live_bus.renew()


@pytest.fixture
def web(live_bus: LiveBus) -> Iterator[str]:
    """The whole pipeline, tests' consumers and those who sample included. The address of its metrics."""
    live_bus.ensure(*PIPELINE, "worker probe", "worker trouble", "dead letters")
    live_bus.restart("web", METRICS_TOKEN=TOKEN)
    ((drained,),) = live_bus.query("SELECT clock_timestamp()")
    live_bus.wait_for(
        lambda: live_bus.query("SELECT at FROM bus_sample WHERE at > %s LIMIT 1", drained), "a sample", 90
    )
    yield f"http://127.0.0.1:{live_bus.web_port}/metrics"
    live_bus.restart("web")


def text(address: str) -> str:
    return httpx.get(address, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False).raise_for_status().text


def scraped(address: str) -> dict[Series, float]:
    families = text_string_to_metric_families(text(address))
    lines = [line for family in families for line in family.samples]
    return {(line.name, frozenset(line.labels.items())): line.value for line in lines}


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


@pytest.mark.usefixtures("no_holes")
def test_each_order_event_failure_and_duplicate_is_counted_once(live_bus: LiveBus, web: str, shop: Shop) -> None:
    before = scraped(web)
    product = receive(100)
    for _ in range(3):
        assert shop.post(shop.order(product), key=uuid4().hex).status_code == 201
    with transaction.atomic():
        (probe, failing, hopeless) = publish(
            ProbeSent(probe_id=uuid4()),
            TroubleAsked(trouble_id=uuid4(), how="raise"),
            TroubleAsked(trouble_id=uuid4(), how="give up"),
        )
    live_bus.wait_for(lambda: live_bus.effects("probe.count", probe) == 1, "the probe to be counted")
    live_bus.wire.publish_all(live_bus.outgoing([probe]) * 2)
    expected = {
        series("eventbus_events_recorded_total", type="order.created"): 3,
        series("eventbus_events_processed_total", consumer="inventory.reserve_stock"): 3,
        series("eventbus_event_age_seconds_count", consumer="orders.confirm"): 3,
        series("eventbus_events_duplicate_total", consumer="probe.count"): 2,
        series("eventbus_events_processed_total", consumer="probe.count"): 1,
        series("eventbus_events_dead_lettered_total", consumer="trouble.obey"): 2,
    }

    def counted() -> dict[Series, float]:
        now = scraped(web)
        return {each: now.get(each, 0) - before.get(each, 0) for each in expected}

    for event in (failing, hopeless):
        live_bus.wait_for(lambda: live_bus.outcome("trouble.obey", event) == "dead", "it to be given up", 120)  # noqa: B023
    comes_true(lambda: counted() == expected, 90)
    assert counted() == expected
    live_bus.drain()

    def grown(name: str, **labels: str) -> bool:
        # Each process adds what it has counted with its next sign of life.
        line = series(name, **labels)
        return scraped(web).get(line, 0) > before.get(line, 0)

    def answered_with(status: int) -> float:
        now = scraped(web).items()
        lines = [(dict(labels), value) for (name, labels), value in now if name == "http_requests_total"]
        return sum(value for labels, value in lines if labels["status"] == str(status))

    live_bus.wait_for(lambda: grown("eventbus_events_retried_total", consumer="trouble.obey"), "retries to be counted")
    live_bus.wait_for(lambda: grown("eventbus_run_seconds_count", consumer="orders.confirm"), "runs to be counted")
    live_bus.wait_for(lambda: grown("eventbus_messages_confirmed_total"), "messages to be counted")
    live_bus.wait_for(lambda: answered_with(201) >= 3, "requests to be counted")
    now = scraped(web)
    assert now[series("eventbus_dead_letters_open", consumer="trouble.obey")] >= 2
    assert now[series("eventbus_queue_workers", consumer="probe.count")] >= 1
    assert now[series("eventbus_processes", kind="relay")] == 1


def test_rules_and_dashboard_ask_for_what_is_there(live_bus: LiveBus, web: str) -> None:
    asked = "\n".join(
        [
            *re.findall(r"(?:expr: |^ {10})(.*)", (RULES / "alerts.yml").read_text(), re.MULTILINE),
            *[target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]],
        ]
    )
    names = set(re.findall(r"\b(?:eventbus|http|mails|webhooks?)_[a-z_]+", asked))
    assert len(names) > 15
    # A counter of what has not happened yet has no series. Its type is there.
    declared = set(re.findall(r"^# TYPE (\S+)", text(web), re.MULTILINE))
    missing = {name for name in names if not {name, name.removesuffix("_bucket")} & declared}
    assert not missing


@pytest.fixture(scope="session")
def promtool() -> str:
    found = program("prometheus", "usr/bin/promtool")
    if found is None:
        pytest.skip("promtool can't be had: apt-get install --no-install-recommends prometheus")
    return found


def test_what_is_read_is_well_formed(web: str, promtool: str) -> None:
    done = subprocess.run([promtool, "check", "metrics"], input=text(web), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "alerts.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_rules_are_right(promtool: str, arguments: list[str]) -> None:
    done = subprocess.run([promtool, *arguments], cwd=RULES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text()))
    tested = set(re.findall(r"alertname: (\w+)", (RULES / "alerts_test.yml").read_text()))
    assert alerts == tested
