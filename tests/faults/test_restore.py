"""The database is restored to a moment in the midst of traffic, and the broker loses all its data: in the end each
order that was answered is there once, with its effects, and no mail went out twice."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from eventbus.restores.timeline import is_reconciled
from inventory.services import receive_stock
from orders import intake
from orders.models import Order
from orders.tests.builders import a_channel, an_order
from tests.support.archiving_postgres import TOOL, ArchivingPostgres
from tests.support.bus import LiveBus
from tests.support.by_hand import ByHand
from tests.support.folders import reachable_folder
from tools.harness.mail import MailSink
from tools.harness.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.faults]

#: They work on; what all others have not come to lies in their queues.
BUSY = ("orders", "inventory", "notifications")


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
def sink() -> Iterator[MailSink]:
    made = MailSink(free_port())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def pipeline(
    server: ArchivingPostgres, sink: MailSink, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[ByHand]:
    bus = LiveBus(f"restore_{server.port}", smtp_port=sink.port, logs=tmp_path, DATABASE_URL=server.url)
    bus.create()
    by_hand = ByHand(bus)
    with django_db_blocker.unblock(), by_hand.at_work(smtp_port=sink.port):
        for product_id in ("vase", "jug"):
            receive_stock(product_id=product_id, product_name=product_id, quantity=999)
        yield by_hand
    bus.remove()


def placed(channel: User, number: int) -> set[UUID]:
    """Orders that were answered with 201."""
    orders = (intake.place_order(intake.parse_order(an_order()), channel_id=channel.pk) for _ in range(number))
    return {UUID(json.loads(order)["orderId"]) for order in orders}


def known() -> set[UUID]:
    return set(Order.objects.values_list("pk", flat=True))


def broken(*arguments: str) -> str:
    """What verify_pipeline finds, a line each."""
    said = StringIO()
    with suppress(SystemExit):
        call_command("verify_pipeline", "--json", *arguments, stdout=said)
    found = json.loads(said.getvalue())["invariants"]
    return "\n".join(f"{each['promise']}: {line}" for each in found for line in each["violations"])


def written(file: Path, lines: list[str]) -> str:
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(file)


def reconciled(moment: datetime, into: Path) -> dict[str, Any]:
    said = StringIO()
    call_command("reconcile", moment.isoformat(), "--into", str(into), "--json", stdout=said)
    report: dict[str, Any] = json.loads(said.getvalue())
    return report


def killed_while_reconciling(bus: LiveBus, moment: datetime, into: Path) -> None:
    """It has decided and noted all, and removed nothing from the queues."""
    waiting = bus.wire.ready("shipping.prepare")
    bus.manage("reconcile", moment.isoformat(), "--into", str(into), expect=-9, FAILPOINT="reconcile.before_removing")
    assert into.stat().st_mode & 0o777 == 0o600
    bus.wait_for(lambda: bus.wire.ready("shipping.prepare") == waiting, "all to be back in the queues")


def check(orders: set[UUID], sink: MailSink) -> None:
    """Every order is confirmed and has its stock, and its customer one mail."""
    assert dict(Order.objects.values_list("pk", "status")) == dict.fromkeys(orders, "CONFIRMED")
    sent = Counter(str(mail["Message-ID"]).partition("@")[0] for mail in sink.mails())
    assert sent == Counter(f"<confirmation.{order_id}" for order_id in orders)
    assert broken() == ""


def test_restored_to_a_moment_in_the_midst_of_traffic(
    server: ArchivingPostgres, pipeline: ByHand, sink: MailSink, tmp_path: Path
) -> None:
    channel = a_channel()
    orders = placed(channel, 4)
    pipeline.work(*BUSY)
    orders |= placed(channel, 3)
    pipeline.publish()  # handled after the moment, when the queues are empty again
    orders |= placed(channel, 2)  # published after it
    ((moment,),) = pipeline.bus.query("SELECT clock_timestamp()")
    pipeline.work(*BUSY)
    orders |= placed(channel, 4)
    pipeline.work(*BUSY)
    assert len(sink.mails()) == len(orders)
    connection.close()
    server.archive_the_rest()
    server.restore_to(moment)
    forgotten = orders - known()
    assert len(forgotten) == 4
    assert not is_reconciled()

    answered = written(tmp_path / "gateway.log", [f"201 /api/v1/orders/{order_id}" for order_id in orders])
    mails = written(tmp_path / "mail.log", [f"message-id={mail['Message-ID']}" for mail in sink.mails()])
    named = broken("--restored-to", moment.isoformat(), "--log", answered, mails)
    for order_id in forgotten:
        assert f"orders that were answered with 201 that the database lacks: {order_id}" in named
        assert f"mails that were sent that the database lacks: <confirmation.{order_id}@" in named
        assert f"of order {order_id}: in analytics." in named

    with pipeline.bus.wire.channel() as worker:
        worker.basic_consume("orders.confirm")
        with pytest.raises(CommandError, match=r"orders\.confirm are consumed: stop web, workers"):
            reconciled(moment, tmp_path / "early.jsonl")
    killed_while_reconciling(pipeline.bus, moment, tmp_path / "killed.jsonl")
    assert known() == orders
    told = reconciled(moment, tmp_path / "forgotten.jsonl")
    assert (told["takenBack"], told["setAside"]) == ([], []), "the killed one had taken back what can be"
    assert is_reconciled()
    assert "no queue has an event" not in broken("--restored-to", moment.isoformat())

    pipeline.work_everything_off()
    call_command("settle_mails", f"--since={moment.date()}", mails)
    pipeline.work()
    check(orders, sink)


def test_a_broker_that_lost_all_its_data(pipeline: ByHand, sink: MailSink) -> None:
    channel = a_channel()
    orders = placed(channel, 4)
    pipeline.work(*BUSY)
    orders |= placed(channel, 3)
    pipeline.publish()
    pipeline.bus.broker.remove_vhost(pipeline.bus.name)
    pipeline.bus.broker.make_vhost(pipeline.bus.name)
    assert "inventory.reserve_stock has not handled order.created" in broken()

    pipeline.work_everything_off()
    check(orders, sink)
