from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent

pytestmark = pytest.mark.live

LOGIN = ("operator", "a-good-password")


@pytest.fixture
def flower(live_bus: LiveBus) -> Iterator[str]:
    live_bus.ensure("relay", "worker probe")
    live_bus.start("flower", FLOWER_BASIC_AUTH=":".join(LOGIN))
    yield f"http://127.0.0.1:{live_bus.flower_port}"
    live_bus.kill9("flower")


def test_flower_lists_each_consumer_as_a_task_of_its_own_behind_a_login(live_bus: LiveBus, flower: str) -> None:
    with httpx.Client(base_url=flower, trust_env=False) as http:
        for page in ("/", "/tasks", "/workers", "/api/tasks", "/api/workers", "/metrics"):
            assert http.get(page).status_code == 401, page
            assert http.get(page, auth=("operator", "wrong")).status_code == 401, page

        assert "flower_" in http.get("/metrics", auth=LOGIN).raise_for_status().text

        with transaction.atomic():
            (event_id,) = publish(ProbeSent(probe_id=uuid4()))

        def tasks() -> dict[str, dict[str, Any]]:
            listed = http.get("/api/tasks", auth=LOGIN).raise_for_status().json()
            about = [task for task in listed.values() if str(event_id) in (task["args"] or "")]
            return {task["name"]: task for task in about if task["state"] == "SUCCESS"}

        found = live_bus.wait_for(lambda: seen if len(seen := tasks()) == 2 else None, "Flower to list both tasks")
    assert set(found) == {"probe.count", "probe.audit"}
    assert found["probe.count"]["uuid"] != found["probe.audit"]["uuid"]
    live_bus.drain()
