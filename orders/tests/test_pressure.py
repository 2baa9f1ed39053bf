from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventbus import admission
from eventbus.testing import Outbox
from orders.models import Order
from orders.tests.builders import Api


@pytest.fixture(autouse=True)
def looks_now(outbox_keeps_up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_ask_again_at", 0.0)


def test_intake_refuses_while_too_many_events_wait(api: Api, settings: Any) -> None:
    api.place()
    settings.EVENTBUS_OUTBOX_LIMIT_ROWS = 1
    admission._ask_again_at = 0.0
    refused = api.post()
    assert refused.status_code == 503
    assert refused["Content-Type"] == "application/problem+json"
    assert int(refused["Retry-After"]) > 0
    assert Order.objects.count() == 1


def test_intake_goes_on_when_the_outbox_has_caught_up(api: Api, settings: Any) -> None:
    api.place()
    settings.EVENTBUS_OUTBOX_LIMIT_ROWS = 1
    admission._ask_again_at = 0.0
    assert api.post().status_code == 503
    Outbox.objects.all().delete()
    admission._ask_again_at = 0.0
    assert api.post().status_code == 201


def test_a_repeated_request_gets_its_answer_however_long_the_outbox_is(api: Api, settings: Any) -> None:
    first = api.post(idempotency_key="k")
    settings.EVENTBUS_OUTBOX_LIMIT_ROWS = 1
    admission._ask_again_at = 0.0
    assert api.post(idempotency_key="other").status_code == 503
    again = api.post(idempotency_key="k")
    assert (again.status_code, again.content) == (201, first.content)


def test_reading_goes_on_meanwhile(api: Api, settings: Any) -> None:
    api.place()
    settings.EVENTBUS_OUTBOX_LIMIT_ROWS = 1
    admission._ask_again_at = 0.0
    assert api.get().status_code == 200


def test_it_costs_one_query_a_second_and_not_one_a_request(api: Api) -> None:
    with CaptureQueriesContext(connection) as queries:
        for _ in range(5):
            assert api.post().status_code == 201
    assert len(queries) == 5 * 2 + 1
