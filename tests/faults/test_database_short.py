"""Faults 16 and 17: PostgreSQL has no connection left, or no disk."""

import errno
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest

from tests.support.bus import LiveBus
from tests.support.folders import reachable_folder
from tests.support.small_postgres import SmallPostgres
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach."""
    with reachable_folder("small-postgres") as folder:
        yield folder


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of its own, too small for long."""
    disk = home / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, home: Path) -> Iterator[SmallPostgres]:
    """On the small disk where the test asks for one."""
    folder = request.getfixturevalue("small_disk") if "small_disk" in request.fixturenames else home
    postgres = SmallPostgres(folder / "postgres")
    postgres.home.mkdir()
    postgres.create()
    yield postgres
    postgres.stop()


@pytest.fixture
def bus(server: SmallPostgres, mail_sink: MailSink, tmp_path: Path) -> Iterator[LiveBus]:
    live = LiveBus(f"small_{server.port}", smtp_port=mail_sink.port, logs=tmp_path, DATABASE_URL=server.url)
    live.create()
    yield live
    live.remove()


@pytest.fixture
def own_shop(bus: LiveBus) -> Iterator[Shop]:
    made = json.loads(bus.manage("create_channel", "small-shop", "--json"))
    bus.start("web")
    ((channel_id,),) = bus.query("SELECT id FROM auth_user WHERE username = 'small-shop'")
    channel = Shop(f"http://127.0.0.1:{bus.web_port}/api/v1", made["token"], channel_id)
    yield channel
    channel.close()


def stored(bus: LiveBus) -> set[UUID]:
    return {order_id for (order_id,) in bus.query("SELECT id FROM orders_order")}


def take_all(server: SmallPostgres, held: ExitStack) -> None:
    """Open connections until there are none left, which raises."""
    for _ in range(20):
        held.enter_context(psycopg.connect(server.url))


def test_without_a_free_connection_intake_says_503_and_is_back_at_once(
    bus: LiveBus, server: SmallPostgres, own_shop: Shop
) -> None:
    own_shop.place(own_shop.order("thing"))
    with ExitStack() as held, psycopg.connect(server.owner_url, autocommit=True) as owner:
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pipeline'")
        with pytest.raises(psycopg.OperationalError, match="connection"):
            take_all(server, held)
        answers = [own_shop.post(own_shop.order("thing")) for _ in range(20)]
        # A connection that was on its way may have been faster than we.
        assert {answer.status_code for answer in answers} <= {503, 201}
        assert answers[-1].status_code == 503
        assert answers[-1].headers["content-type"] == "application/problem+json"
        assert httpx.get(f"http://127.0.0.1:{bus.web_port}/health/ready", trust_env=False).status_code == 503
    own_shop.place(own_shop.order("thing"), seconds=10)
    assert own_shop.unfit == []
    assert stored(bus) == set(own_shop.accepted)


def inflate(balloon: Path) -> None:
    """Write until nothing more goes onto the disk."""
    with balloon.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(65_536))
            except OSError as full:
                if full.errno != errno.ENOSPC:
                    raise
                return


def test_with_a_full_disk_intake_says_503_and_nothing_accepted_is_lost(
    small_disk: Path, bus: LiveBus, server: SmallPostgres, own_shop: Shop
) -> None:
    own_shop.place(own_shop.order("thing"))
    balloon = small_disk / "balloon"
    inflate(balloon)

    for _ in range(3_000):
        answer = own_shop.post(own_shop.order("thing"))
        if answer.status_code != 201:
            break
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    after = Counter(own_shop.post(own_shop.order("thing")).status_code for _ in range(20))
    assert set(after) <= {503, 201}

    balloon.unlink()
    if not server.is_alive:
        server.start()
    own_shop.place(own_shop.order("thing"), seconds=60)
    assert own_shop.unfit == []
    assert stored(bus) == set(own_shop.accepted)
    server.stop()
    server.start()
    assert stored(bus) == set(own_shop.accepted)
