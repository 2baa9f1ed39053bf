"""Behind PgBouncer in transaction mode: web and workers work, and what needs a session says so at its start."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.support.bus import LiveBus
from tests.support.folders import reachable_folder
from tests.support.pgbouncer import PROGRAM, PgBouncer
from tests.support.shops import own_channel
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PROGRAM.exists(), reason="pgbouncer is not installed: script/setup as root installs it"),
]

PROCESSES = ("web", "relay", "worker orders", "worker inventory", "worker notifications", "worker eventbus")
SESSION_LOCKS = """
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND a.datname = current_database() AND a.state = 'idle'
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the pooler's user can read."""
    with reachable_folder("pgbouncer", 0o777) as folder:
        yield folder


@pytest.fixture(scope="module")
def made_bus(mail_sink: MailSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBus]:
    bus = LiveBus(f"pooled_{uuid4().hex[:8]}", smtp_port=mail_sink.port, logs=tmp_path_factory.mktemp("logs"))
    try:
        bus.create()
        yield bus
    finally:
        bus.remove()


@pytest.fixture
def own_bus(made_bus: LiveBus, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveBus]:
    env = made_bus.env.copy()
    with django_db_blocker.unblock(), made_bus.as_default_database():
        yield made_bus
    made_bus.kill9(*made_bus.processes)
    made_bus.processes, made_bus.env = {}, env


@pytest.fixture
def own_shop(own_bus: LiveBus) -> Iterator[Shop]:
    with own_channel(own_bus) as channel:
        yield channel


@pytest.fixture
def pooler(home: Path, own_bus: LiveBus) -> Iterator[PgBouncer]:
    """The whole product's way to its database."""
    direct = own_bus.env["DATABASE_URL"]
    with PgBouncer(home, direct) as bouncer:
        own_bus.env |= {"DATABASE_URL": bouncer.url(direct), "DATABASE_DIRECT_URL": direct}
        yield bouncer
        own_bus.kill9(*own_bus.processes)


def test_web_and_workers_go_through_the_pooler_and_the_rest_past_it(
    pooler: PgBouncer, own_bus: LiveBus, own_shop: Shop
) -> None:
    product = receive(1_000)
    own_bus.start(*PROCESSES)
    with ThreadPoolExecutor(8) as many:
        answers = Counter(many.map(lambda _: own_shop.post(own_shop.order(product)).status_code, range(60)))
    assert answers == {201: 60}

    confirmed = "SELECT 1 FROM orders_order HAVING count(*) FILTER (WHERE status = 'CONFIRMED') = 60"
    own_bus.wait_for(lambda: own_bus.query(confirmed), "60 confirmed orders", 60)
    names = pooler.clients(own_bus.name)
    assert {"worker orders", "worker inventory", "pipeline"} <= names
    assert not {"relay", "worker notifications", "worker eventbus"} & names
    assert {name for (name,) in own_bus.query(SESSION_LOCKS)} <= {"relay", "worker notifications"}


def test_the_limits_of_the_role_are_looked_for_through_the_pooler(pooler: PgBouncer, own_bus: LiveBus) -> None:
    warning = "eventbus.W106) Through the pooler"
    assert own_bus.manage("check", "--deploy", "--tag", "bus").count(warning) == 2
    role = f'ALTER ROLE CURRENT_USER IN DATABASE "{own_bus.name}" SET'
    with psycopg.connect(own_bus.env["DATABASE_DIRECT_URL"], autocommit=True) as application:
        application.execute(f"{role} lock_timeout = '20s'")
        application.execute(f"{role} idle_in_transaction_session_timeout = '120s'")
    pooler.reconnect()
    assert warning not in own_bus.manage("check", "--deploy", "--tag", "bus")


def test_a_run_behind_the_pooler_waits_for_a_lock_no_longer_than_any_other(
    pooler: PgBouncer, own_bus: LiveBus, own_shop: Shop
) -> None:
    """A second, and not for ever: the limit is set in each transaction."""
    product = receive(1_000)
    own_bus.start("web", "relay", "worker inventory")
    with psycopg.connect(own_bus.database_url) as other:
        other.execute("UPDATE inventory_stock SET product_name = product_name")
        own_shop.place(own_shop.order(product))
        said = own_bus["worker inventory"].says
        own_bus.wait_for(lambda: "lock timeout" in said(), "the run to give up", 30)


@pytest.mark.parametrize("ignored", ["", "options"])
def test_what_needs_a_session_refuses_in_one_line(home: Path, own_bus: LiveBus, ignored: str) -> None:
    direct = own_bus.env["DATABASE_URL"]
    with PgBouncer(home, direct, ignored=ignored) as pooler:
        through = pooler.url(direct)
        for command in (["relay"], ["ingest_dead_letters"], ["worker", "notifications"], ["worker", "orders"]):
            said = own_bus.manage(*command, expect=1, DATABASE_URL=through)
            assert said.strip().splitlines()[-1] == (
                "manage.py: DATABASE_URL leads through a transaction pooler: set DATABASE_DIRECT_URL beside it to "
                "PostgreSQL's own address. See docs/deploy.md."
            )
            assert "Traceback" not in said
        said = own_bus.manage("relay", expect=1, DATABASE_URL=through, DATABASE_DIRECT_URL=through)
        assert "DATABASE_DIRECT_URL leads through a transaction pooler" in said


def test_the_owners_way_does_not_lead_through_it_either(home: Path, own_bus: LiveBus) -> None:
    with PgBouncer(home, own_bus.database_url) as pooler:
        through = pooler.url(own_bus.database_url)
        said = own_bus.manage("worker", "eventbus", expect=1, OWNER_DATABASE_URL=through)
        assert "OWNER_DATABASE_URL leads through a transaction pooler: set it to PostgreSQL's own address." in said


def test_a_pooler_in_session_mode_is_no_obstacle(home: Path, own_bus: LiveBus) -> None:
    direct = own_bus.env["DATABASE_URL"]
    with PgBouncer(home, direct, mode="session", ignored="options") as pooler:
        own_bus.start("relay", DATABASE_URL=pooler.url(direct))
        own_bus.term("relay")
