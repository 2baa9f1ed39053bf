"""What a mail server says of one recipient holds up nobody else's mail."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.ports import free_port
from tools.harness.shop import Shop

# A delay of a minute, beside the start of all processes.
pytestmark = [pytest.mark.live, pytest.mark.faults, pytest.mark.timeout(240)]

#: More than the breaker judges by.
ORDERS = 25


class Greylisting(MailSink):
    """Refuses each recipient's first mail, until it is asked to stop."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.asked = Counter[str]()
        self.greylists = True

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        self.asked[address] += 1
        if self.greylists and self.asked[address] == 1:
            return "450 4.7.1 Greylisted: try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@pytest.fixture
def greylisting(live_bus: LiveBus) -> Iterator[Greylisting]:
    sink = Greylisting(free_port())
    sink.start()
    live_bus.ensure(*PIPELINE)
    live_bus.restart("worker notifications", EMAIL_URL=f"smtp://127.0.0.1:{sink.port}")
    yield sink
    # The next test gets one that sends to the sink of all tests.
    live_bus.kill9("worker notifications")
    sink.stop()


def test_greylisted_mails_come_later_and_all_others_at_once(
    live_bus: LiveBus, shop: Shop, greylisting: Greylisting
) -> None:
    product = receive(100)
    shop.place_all([shop.order(product, quantity=1) for _ in range(ORDERS)])
    live_bus.wait_for(lambda: len(greylisting.asked) == ORDERS, "each first try to be refused")

    greylisting.greylists = False
    other = shop.order(product, quantity=1)
    shop.place(other)

    live_bus.wait_for(lambda: greylisting.sent_to(other.email), "the mail of an innocent recipient")
    assert "breaker.opened" not in live_bus["worker notifications"].says()
    effects.check(live_bus, shop, greylisting, quiet=100)
    assert "breaker.opened" not in live_bus["worker notifications"].says()
    assert len(greylisting.mails()) == ORDERS + 1
