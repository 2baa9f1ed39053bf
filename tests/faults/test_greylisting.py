"""What a mail server says of one recipient, or does not say, holds up nobody else's mail."""

import os
import signal
from asyncio import CancelledError, sleep
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
#: As many mails as even a slow machine sends while a client waits for an answer: eight seconds.
FEW = 12


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


class Silent(MailSink):
    """Says nothing of one recipient, for as long as the client waits."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.silent_of = ""
        self.was_asked = self.was_given_up = False

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if address == self.silent_of:
            self.was_asked = True
            try:
                await sleep(600)
            except CancelledError:
                self.was_given_up = True
                raise
        envelope.rcpt_tos.append(address)
        return "250 OK"


@contextmanager
def all_mail_to(sink: MailSink, bus: LiveBus) -> Iterator[None]:
    sink.start()
    bus.ensure(*PIPELINE)
    bus.restart("worker notifications", EMAIL_URL=f"smtp://127.0.0.1:{sink.port}")
    yield
    # The next test gets one that sends to the sink of all tests.
    bus.kill9("worker notifications")
    sink.stop()


@pytest.fixture
def greylisting(live_bus: LiveBus) -> Iterator[Greylisting]:
    sink = Greylisting(free_port())
    with all_mail_to(sink, live_bus):
        yield sink


@pytest.fixture
def silent(live_bus: LiveBus) -> Iterator[Silent]:
    sink = Silent(free_port())
    with all_mail_to(sink, live_bus):
        yield sink


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


def test_while_a_server_thinks_about_one_recipient_all_others_get_their_mail(
    live_bus: LiveBus, shop: Shop, silent: Silent
) -> None:
    """Also those whose mail stands behind that one in the same run."""
    order_few(live_bus, shop, silent)
    live_bus.wait_for(lambda: silent.was_asked and len(silent.mails()) == FEW - 1, "all mails but one")
    assert not silent.was_given_up
    silent.silent_of = ""
    effects.check(live_bus, shop, silent, quiet=100)


def test_a_process_that_dies_over_one_mail_of_its_run_takes_no_other_with_it(
    live_bus: LiveBus, shop: Shop, silent: Silent
) -> None:
    order_few(live_bus, shop, silent)
    live_bus.wait_for(lambda: silent.was_asked, "one mail to be on its way")
    victims = live_bus["worker notifications"].children()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    silent.silent_of = ""
    effects.check(live_bus, shop, silent, in_doubt=len(victims), quiet=100)
    # A mail whose sender PostgreSQL has not yet missed is looked at once more.
    ((attempts,),) = live_bus.query(
        "SELECT sum(attempts - 1) FROM processed_event WHERE consumer = 'notifications.deliver_mail' "
        "AND event_id IN (SELECT id FROM event WHERE data->>'orderId' = ANY(%s))",
        [str(order_id) for order_id in shop.accepted],
    )
    assert attempts <= len(victims)


def order_few(bus: LiveBus, shop: Shop, sink: Silent) -> None:
    """Orders that come together, so that runs have several mails, and of which the server says nothing of one."""
    product = receive(100)
    orders = [shop.order(product, quantity=1) for _ in range(FEW)]
    bus.kill9("relay")
    shop.place_all(orders)
    sink.silent_of = orders[FEW // 2].email
    bus.start("relay")
