"""What every story and every fault must come to in the end."""

from uuid import UUID

from eventbus.declaration import CONSUMERS
from tests.support.bus import LiveBus
from tools.harness.effects import Checker, Counting, gather
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

#: Every process of the product: web, relay, and a worker for each group of consumers that is not the tests' own.
GROUPS = {each.group for each in CONSUMERS.values() if not each.handler.__module__.startswith("tests.")}
PIPELINE = ("web", "relay", *(f"worker {group}" for group in sorted(GROUPS)))
WORKERS = (*PIPELINE[2:], "worker probe")

COUNTING = Counting("^(probe|trouble)[.]", "SELECT consumer, event_id FROM effect", dead_letters_expected=True)


def check(bus: LiveBus, shop: Shop, sink: MailSink, *, in_doubt: int = 0, quiet: float = 60) -> dict[UUID, str]:
    """Assert that all which the shop was told came true, once; returns each order's status.

    `in_doubt`: how many mails may be in the one state that nobody can know about. `quiet`: for how many
    seconds nothing may move until all is done.
    """
    bus.drain(quiet)
    bus.verify()
    evidence = gather(bus, shop, sink.mails(), COUNTING)
    verdict = Checker(shop, evidence).check()
    assert verdict.findings == [], verdict.findings
    assert verdict.in_doubt <= in_doubt
    return evidence.statuses
