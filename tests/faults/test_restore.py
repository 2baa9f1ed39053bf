"""The database is restored to a moment in the midst of traffic, and the broker loses all its data: in the end each
order that was answered is there once, with its effects, and no mail went out twice."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.archiving_postgres import TOOL, ArchivingPostgres
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE, check
from tests.support.folders import reachable_folder
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]

#: They work; what all others have not come to lies in their queues.
BUSY = ("web", "relay", "worker orders", "worker inventory", "worker notifications")
RECEIVE = (
    "from inventory.services import receive_stock; receive_stock(product_id='thing', product_name='A', quantity=999)"
)


@pytest.fixture
def server() -> Iterator[ArchivingPostgres]:
    if TOOL is None:
        pytest.skip("pgBackRest is missing: apt-get install pgbackrest")
    with reachable_folder("archiving-postgres") as folder:
        postgres = ArchivingPostgres(folder / "postgres")
        postgres.home.mkdir()
        postgres.create()
        postgres.archive()
        try:
            yield postgres
        finally:
            postgres.stop()


@pytest.fixture
def bus(server: ArchivingPostgres, mail_sink: MailSink, tmp_path: Path) -> Iterator[LiveBus]:
    live = LiveBus(f"restore_{server.port}", smtp_port=mail_sink.port, logs=tmp_path, DATABASE_URL=server.url)
    live.create()
    yield live
    live.remove()


@pytest.fixture
def own_shop(bus: LiveBus) -> Iterator[Shop]:
    made = json.loads(bus.manage("create_channel", "restored-shop", "--json"))
    bus.manage("shell", "-c", RECEIVE)
    ((channel_id,),) = bus.query("SELECT id FROM auth_user WHERE username = 'restored-shop'")
    channel = Shop(f"http://127.0.0.1:{bus.web_port}/api/v1", made["token"], channel_id)
    yield channel
    channel.close()


def mailed(sink: MailSink, shop: Shop) -> bool:
    """Whether every order that was accepted has its mail."""
    addresses = {str(mail["To"]) for mail in sink.mails()}
    return all(wish.email in addresses for wish in shop.accepted.values())


def written(file: Path, lines: list[str]) -> str:
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(file)


def broken(report: str) -> str:
    return "\n".join(
        f"{each['promise']}: {line}" for each in json.loads(report)["invariants"] for line in each["violations"]
    )


def test_restored_to_a_moment_in_the_midst_of_traffic(
    server: ArchivingPostgres, bus: LiveBus, own_shop: Shop, mail_sink: MailSink, tmp_path: Path
) -> None:
    bus.start(*BUSY)
    with own_shop.placing("thing"):
        own_shop.wait_for_more(8)
        ((moment,),) = bus.query("SELECT clock_timestamp()")
        own_shop.wait_for_more(8)
    bus.wait_for(lambda: mailed(mail_sink, own_shop), "the customers to have their mails", seconds=60)
    bus.term(*BUSY)
    server.archive_the_rest()
    server.restore_to(moment)
    known = {order_id for (order_id,) in bus.query("SELECT id FROM orders_order")}
    forgotten = own_shop.accepted.keys() - known
    assert known
    assert len(forgotten) >= 8

    orders = written(tmp_path / "answered.log", [f"POST 201 /api/v1/orders/{each}" for each in own_shop.accepted])
    mails = written(tmp_path / "mail.log", [f"message-id={mail['Message-ID']}" for mail in mail_sink.mails()])
    outside = ("--restored-to", moment.isoformat(), "--log", orders, mails)
    named = broken(bus.manage("verify_pipeline", "--json", *outside, expect=1))
    for order_id in forgotten:
        assert f"orders that were answered with 201 that the database lacks: {order_id}" in named
        assert f"mails that were sent that the database lacks: <confirmation.{order_id}@" in named
        assert f"of order {order_id}: in analytics." in named
    bus.manage("check_alarms", expect=1)
    assert bus.query("SELECT state FROM alarm WHERE name = 'database_restored'") == [("firing",)]

    bus.start("worker orders")
    refused = bus.manage("reconcile", moment.isoformat(), "--into", str(tmp_path / "forgotten.jsonl"), expect=1)
    assert "stop web, workers" in refused
    bus.term("worker orders")
    told = reconciled(bus, moment, tmp_path / "forgotten.jsonl")
    assert len(told["takenBack"]) == len(forgotten)
    assert told["setAside"] == []
    assert bus.query("SELECT DISTINCT state FROM notifications_mail WHERE state <> 'SENT'") in ([], [("UNKNOWN",)])

    bus.start(*PIPELINE, "dead letters")
    bus.drain()
    bus.manage("settle_mails", "--since", moment.date().isoformat(), mails)
    check(bus, own_shop, mail_sink)


def reconciled(bus: LiveBus, moment: datetime, into: Path) -> dict[str, list[str]]:
    """Killed before it takes anything out of the queues, and run again."""
    bus.manage("reconcile", moment.isoformat(), "--into", str(into), expect=-9, FAILPOINT="reconcile.before_removing")
    first = [json.loads(line)["eventId"] for line in into.read_text().splitlines()]
    again = json.loads(bus.manage("reconcile", moment.isoformat(), "--into", f"{into}.2", "--json"))
    assert again["takenBack"] == [], "they are in the archive since the first run"
    taken = bus.query("SELECT id::text FROM event WHERE type = 'order.created' AND id::text = ANY(%s)", first)
    return {"takenBack": [event_id for (event_id,) in taken], "setAside": again["setAside"]}


def test_a_broker_that_lost_all_its_data(live_bus: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    live_bus.only(*BUSY)
    live_bus.manage("shell", "-c", RECEIVE)
    with shop.placing("thing"):
        shop.wait_for_more(16)
        live_bus.kill9(*BUSY[1:])
    live_bus.kill9("web")
    live_bus.broker.remove_vhost(live_bus.name)
    live_bus.broker.make_vhost(live_bus.name)
    assert "has not handled order.created" in broken(live_bus.manage("verify_pipeline", "--json", expect=1))

    live_bus.only(*PIPELINE, "dead letters")
    check(live_bus, shop, mail_sink, in_doubt=2)
