"""Metrics: who may read them, and what a request adds."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from api import metrics
from api.problems import PROBLEM_JSON

pytestmark = pytest.mark.django_db

TOKEN = "t0ken"


def refused(answer: Any, status: int) -> None:
    """It is a problem of this status. A probe has no correlation id."""
    assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM_JSON)
    assert answer.json()["status"] == status


@pytest.fixture(autouse=True)
def token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


def test_who_has_the_token_reads_every_metric(client: Client) -> None:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE eventbus_events_processed_total counter" in answer.content
    assert b'mails_not_sent{state="FAILED"} 0.0' in answer.content


def test_a_scraper_inside_knows_neither_host_name_nor_tls(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Host": "10.0.0.7:8000"})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", "Basic dDBrZW4=", "Bearer t0kenü"])
def test_others_read_nothing(client: Client, header: str) -> None:
    refused(client.get("/metrics", headers={"Authorization": header}), 401)


@pytest.mark.parametrize("header", ["", "Bearer "])
def test_without_a_token_nobody_reads_anything(client: Client, settings: Any, header: str) -> None:
    settings.METRICS_TOKEN = ""
    refused(client.get("/metrics", headers={"Authorization": header}), 404)


def test_while_the_database_is_away_the_answer_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> bytes:
        raise OperationalError("away")

    monkeypatch.setattr(metrics, "metrics", away)
    refused(client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}), 503)


def test_requests_count_by_the_name_of_their_address(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(metrics, "REQUESTS", SimpleNamespace(add=lambda by, *labels: counted.append(labels)))
    client.get("/api/echo?x=1")
    client.get("/no/such/path")
    client.generic("BREW", "/api/echo")
    echo = "api.tests.probe.Echo"
    assert counted == [("GET", echo, "401"), ("GET", "none", "404"), ("OTHER", echo, "401")]
