"""A partner with nothing but docs/webhooks.md: verifies in Python and in Node, and survives a secret's rotation."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from api.tests.callers import Caller
from eventbus import Event, database_time
from eventbus.testing import deliver, wait_until
from orders.events import OrderConfirmed
from webhooks.consumers import queue_deliveries
from webhooks.models import Delivery, DeliveryState, Webhook
from webhooks.tests.builders import confirmed
from webhooks.tests.conftest import running
from webhooks.tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = (Path(settings.BASE_DIR) / "docs/webhooks.md").read_text()
HOOKS = "/api/v1/webhooks"


def code(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return str(found)


def told(owner: User) -> Event:
    event = confirmed(owner)
    deliver(event, to=queue_deliveries)
    return event


def delivered(count: int) -> None:
    done = Delivery.objects.filter(state=DeliveryState.DELIVERED)
    wait_until(lambda: done.count() == count, 60, f"{count} deliveries")


class Receiver:
    """The page's own, in Node."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "receiver.mjs"
        self.file.write_text(code("javascript"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.log = folder / "received"

    @contextmanager
    def running(self, secret: str) -> Iterator[None]:
        env = os.environ | {"PORT": str(self.port), "WEBHOOK_SECRET": secret}
        with self.log.open("a") as log, subprocess.Popen(["node", str(self.file)], env=env, stdout=log) as node:
            wait_until(self._listens, 30, "Node to listen")
            try:
                yield
            finally:
                node.terminate()

    def got(self) -> list[str]:
        """Of each message that it took the id."""
        return [line.split()[0] for line in self.log.read_text().splitlines()]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def subscribe(caller: Caller, url: str) -> Any:
    answer = caller.post(HOOKS, {"url": url, "eventTypes": [OrderConfirmed.type]})
    assert answer.status_code == 201, answer.content
    return answer.json()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_a_partner_in_node_recovers_what_it_missed_and_survives_a_rotation(owner: User, tmp_path: Path) -> None:
    caller, receiver = Caller(owner), Receiver(tmp_path)
    made = subscribe(caller, f"http://127.0.0.1:{receiver.port}/hook")
    mine = f"{HOOKS}/{made['webhookId']}"
    with running(), receiver.running(made["secret"]):
        first = told(owner)
        delivered(1)
        # Paused, it is told nothing: it asks afterwards, and gets what it knows already not even twice.
        caller.patch(mine, {"active": False})
        missed = told(owner)
        caller.patch(mine, {"active": True})
        since = (database_time() - timedelta(hours=1)).isoformat()
        assert caller.post(f"{mine}/recover", {"since": since}).status_code == 202
        delivered(2)
        # It still knows the old secret alone.
        new = caller.post(f"{mine}/rotate-secret").json()["secret"]
        third = told(owner)
        delivered(3)
    with running(), receiver.running(new):
        fourth = told(owner)
        delivered(4)
        ids = [str(event.envelope.event_id) for event in (first, missed, third, fourth)]
        assert receiver.got() == ids
    # A day later the old one signs no more.
    Webhook.objects.update(previous_secret_until=database_time())
    with running(), receiver.running(made["secret"]):
        told(owner)
        wait_until(lambda: Delivery.objects.filter(error="It answered 401."), 60, "its refusal")
    assert receiver.got() == ids


def test_a_partner_in_python_knows_what_is_genuine(owner: User, partner: Partner) -> None:
    page: dict[str, Any] = {}
    exec(code("python"), page)  # noqa: S102  it is what the page shows
    made = subscribe(Caller(owner), partner.url)
    with running():
        told(owner)
        delivered(1)
    (got,) = partner.received
    assert page["accepts"](made["secret"], got.body, got.headers)
    assert not page["accepts"](made["secret"], got.body + b" ", got.headers)
    assert not page["accepts"](made["secret"], got.body, got.headers | {"webhook-id": "another"})
