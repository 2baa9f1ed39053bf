"""A running copy of the last release becomes this one while orders flow: first the tables, then process by process, old
and new code side by side."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from script._lib.local import ROOT
from script._lib.waiting import wait_until
from tests.support.bus import SERVERS
from tests.support.releases import InTurn, Release, check_out, last_release
from tools.chaos.customers import Customers, stock_for, wishes
from tools.chaos.run import TALLY
from tools.harness import effects
from tools.harness.effects import Checker, gather
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.long]

#: Orders that must be accepted before the next step.
A_WHILE = 25
#: More than anybody can ask for in the time, five a second.
WISHES, SECONDS = wishes(seed=7, count=10_000), 2_000


@pytest.fixture
def releases(tmp_path: Path, mail_sink: MailSink) -> Iterator[tuple[Release, Release, Release]]:
    """The last release, and two copies of this one."""
    commit = last_release()
    if commit is None:
        pytest.skip("no release to upgrade from: no tag before this commit (git fetch --tags --unshallow)")
    name, servers = f"upgrade_{uuid4().hex[:8]}", {name: os.environ.get(name, "") for name in SERVERS}
    email = f"smtp://127.0.0.1:{mail_sink.port}"
    before = check_out(commit, tmp_path / "code")
    known = servers if (before / "eventbus/db/owner.py").exists() else servers | one_of_each(servers)
    old, new, newest = (
        Release(root, tmp_path / which, name, addresses, EMAIL_URL=email)
        for root, which, addresses in ((before, "old", known), (ROOT, "new", servers), (ROOT, "newest", servers))
    )
    try:
        old.create()
        yield old, new, newest
    finally:
        newest.kill_all()
        new.kill_all()
        old.kill_all()
        old.remove()


def one_of_each(servers: dict[str, str]) -> dict[str, str]:
    """For a release that knows of one role and one broker user for everything."""
    return {
        "DATABASE_URL": servers["OWNER_DATABASE_URL"] or servers["DATABASE_URL"],
        "OWNER_DATABASE_URL": "",
        "BROKER_URL": servers["DECLARING_BROKER_URL"] or servers["BROKER_URL"],
    }


def test_a_running_copy_is_upgraded_under_load(releases: tuple[Release, Release, Release], mail_sink: MailSink) -> None:
    old, new, newest = releases
    old.python("manage.py", "migrate")
    # First: a consumer that is known and has no queue has lost it, and is reported.
    old.python("manage.py", "declare_topology")
    channel = json.loads(old.python("-m", "tools.chaos.prepare", text=json.dumps(stock_for(WISHES))).splitlines()[-1])
    old.start(*old.commands)
    balancer = InTurn(old.web_port)
    shop = Shop("http://127.0.0.1/api/v1", channel["token"], channel["channel_id"], transport=balancer)
    customers = Customers(shop)
    ordering = Thread(target=customers.place_all, args=(WISHES,), kwargs={"seconds": SECONDS})
    ordering.start()
    try:
        await_more(old, shop)
        upgrade(old, new, newest, shop, balancer)
    finally:
        customers.close()
        ordering.join(60)

    assert effects.settle(new, 180) is not None, effects.unsettled(new)
    assert effects.violations(new) == []
    verdict = Checker(shop, gather(new, shop, mail_sink.mails(), TALLY)).check()
    assert verdict.findings == []
    assert verdict.in_doubt == 0
    assert shop.failures == {}
    last = newest if newest.processes else new
    assert [name for name in last.processes if last.stop(name) != 0] == []
    assert old.complaints() + new.complaints() + newest.complaints() == []
    shop.close()


def upgrade(old: Release, new: Release, newest: Release, shop: Shop, balancer: InTurn) -> None:
    """As docs/deploy.md says. `newest` is the same code as `new`, with what the old one must not meet."""
    new.python("manage.py", "migrate")
    has_new_majors = declare(new)
    await_more(new, shop)
    answered = dict(list(shop.accepted.items())[:A_WHILE])
    replace(old, new, shop, balancer)
    if has_new_majors:
        newest.python("manage.py", "declare_topology")
        replace(new, newest, shop, balancer)
    # Who had no answer and asks again, now of the new code, gets the old one.
    for order_id, wish in answered.items():
        assert shop.ask(wish, key=wish.email)
        assert wish.order_id == order_id
    await_more(new, shop)


def declare(new: Release) -> bool:
    """Returns whether new major versions of events have to wait until the old code is gone: the command says so."""
    if (done := new.run("manage.py", "declare_topology")).returncode == 0:
        return False
    waiting = re.search(r"set RECORD_AS to the one that they know \((\S+)=…\)", done.stderr)
    assert waiting, done.stderr
    new.env["RECORD_AS"] = f"{waiting[1]}=1"
    new.python("manage.py", "declare_topology")
    return True


def replace(old: Release, new: Release, shop: Shop, balancer: InTurn) -> None:
    """Process by process."""
    for name in new.commands:
        new.start(name)
        if name == "web":
            balancer.ports = [old.web_port, new.web_port]
        await_more(new, shop)
        if name == "web":
            balancer.ports = [new.web_port]
        if name in old.processes:
            assert old.stop(name) == 0, old.processes[name].says()[-3000:]
    for name in old.processes.keys() - new.commands.keys():
        old.stop(name)


def await_more(lab: Release, shop: Shop) -> None:
    """Wait until more orders are accepted, and as many have come to an end."""
    before = ended(lab)
    shop.wait_for_more(A_WHILE)
    wait_until(lambda: ended(lab) >= before + A_WHILE, 120, "more orders to come to an end")


def ended(lab: Release) -> int:
    ((number,),) = lab.query("SELECT count(*) FROM orders_order WHERE status <> 'CREATED'")
    return int(number)
