"""The application's user of the broker works for all of the pipeline, and may do nothing else."""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import uuid4

import amqp
import httpx
import pytest
from django.db import transaction
from kombu import Connection

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent

pytestmark = pytest.mark.live


@pytest.fixture
def channel(live_bus: LiveBus) -> Iterator[amqp.Channel]:
    with Connection(live_bus.env["BROKER_URL"]) as connection:
        yield connection.channel()


FORBIDDEN: dict[str, Callable[[amqp.Channel], object]] = {
    "a queue of its own": lambda channel: channel.queue_declare("eavesdropper"),
    "a server-named queue": lambda channel: channel.queue_declare(""),
    "an exchange": lambda channel: channel.exchange_declare("elsewhere", "topic"),
    "a consumer's queue, deleted": lambda channel: channel.queue_delete("probe.count"),
    "the events' exchange, deleted": lambda channel: channel.exchange_delete("orders"),
    "a consumer's binding, removed": lambda channel: channel.queue_unbind("probe.count", "orders", "probe.sent.v1"),
    "what others publish": lambda channel: channel.basic_publish(amqp.Message("x"), "amq.topic", "x"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_the_application_never_does_is_refused(channel: amqp.Channel, what: str) -> None:
    def ask() -> None:
        FORBIDDEN[what](channel)
        # A publish has no answer; what is refused ends the channel.
        channel.queue_declare("probe.count", passive=True)

    with pytest.raises(amqp.AccessRefused):
        ask()


def test_its_log_in_opens_no_management_page(live_bus: LiveBus) -> None:
    login = live_bus.env["BROKER_URL"].partition("://")[2].rpartition("@")[0]
    url = live_bus.env["MANAGEMENT_URL"].rpartition("@")[2]
    with httpx.Client(trust_env=False) as http:
        assert http.get(f"http://{login}@{url}/api/whoami").status_code == 401


def test_the_pipeline_works_with_it(live_bus: LiveBus) -> None:
    """Remote control and task events too; and a queue that is deleted comes back, declared by the other user."""
    live_bus.ensure("relay", "worker probe", "dead letters")
    with live_bus.wire.channel() as declaring:
        declaring.queue_delete("probe.audit")
    with transaction.atomic():
        (event_id,) = publish(ProbeSent(probe_id=uuid4()))
    for consumer in ("probe.count", "probe.audit"):
        live_bus.wait_for(partial(live_bus.effects, consumer, event_id), consumer)
    live_bus.term("dead letters")
