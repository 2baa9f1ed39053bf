"""How many connections the running processes have, and what docs/deploy.md says of it."""

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from eventbus.monitoring import budget
from script._lib import procfile
from script._lib.local import ROOT
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.shop import Shop

#: The names of sessions that are not their process's own.
KINDS = {"pipeline": "web", "dead letters": "worker_dead_letters"}


def test_the_page_has_the_budget() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    rows = re.findall(r"^\| (?:`(\w+)`|(together)).*? \| (\d+).*? \| (\d+)", page, re.MULTILINE)
    listed = {kind or total: (int(database), int(broker)) for kind, total, database, broker in rows}
    # Tests declare consumers of their own.
    ours = {*procfile.commands(), "commands"}
    needs = [each for each in budget.needs() if each.kind in ours]
    computed = {each.kind: (each.copies * each.database, each.copies * each.broker) for each in needs}
    computed["together"] = (sum(a for a, _ in computed.values()), sum(b for _, b in computed.values()))
    assert listed == computed


@pytest.fixture
def whole_bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    live_bus.only(*PIPELINE, "worker eventbus", "dead letters", "beat")
    yield live_bus
    live_bus.only(*PIPELINE)


@pytest.mark.live
def test_no_process_opens_more_than_its_budget(whole_bus: LiveBus, shop: Shop) -> None:
    product = receive(1_000)
    with ThreadPoolExecutor(50) as many:
        list(many.map(lambda _: shop.post(shop.order(product)), range(150)))
    whole_bus.drain()

    needs = {each.kind: each for each in budget.running_needs()}
    # Ours has the name of the web's.
    connection.close()
    named = whole_bus.query("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
    opened = Counter(kind_of(name) for (name,) in named)
    too_many = {kind: number for kind, number in opened.items() if kind in needs and number > all_of(needs[kind])}
    assert too_many == {}
    # As many as threads, though fifty came at once.
    assert opened["web"] == 2 * 4 + 2

    running = {process.name.replace(" ", "_") for process in whole_bus.processes.values() if process.is_alive}
    allowed = sum(
        each.copies * each.broker for kind, each in needs.items() if kind in {*running, "worker_dead_letters"}
    )
    listed = [each for each in whole_bus.broker.ask("GET", "connections") if each.get("vhost") == whole_bus.name]
    assert 0 < len(listed) <= allowed


def kind_of(session: str) -> str:
    name = session.removeprefix("heartbeat of ")
    return KINDS.get(name, name.replace(" ", "_"))


def all_of(need: budget.Need) -> int:
    return need.copies * need.database
