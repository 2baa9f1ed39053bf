"""Whatever goes wrong, the caller gets a problem."""

import json
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404
from rest_framework import exceptions

from api.tests import probe
from api.tests.callers import Caller, problem


@pytest.fixture
def broken(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(error: Exception) -> Any:
        monkeypatch.setattr(probe.Broken, "error", error)
        return caller.get("/api/broken")

    return call


def test_nothing_of_the_server_shows_when_something_breaks(broken: Any) -> None:
    assert "secret" not in json.dumps(problem(broken(RuntimeError("the secret inside")), 500))


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, InternalError])
def test_a_database_that_does_not_answer_is_503_and_worth_a_retry(broken: Any, error: type[Exception]) -> None:
    answer = broken(error("connection to server at 10.0.0.1 failed"))
    assert "10.0.0.1" not in json.dumps(problem(answer, 503))
    assert answer["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("error", "status"),
    [(Http404(), 404), (PermissionDenied(), 403), (exceptions.NotFound(), 404), (exceptions.Throttled(wait=3.2), 429)],
)
def test_what_django_and_drf_raise_is_a_problem_too(broken: Any, error: Exception, status: int) -> None:
    answer = broken(error)
    problem(answer, status)
    assert answer.get("Retry-After") == ("4" if status == 429 else None)


def test_an_address_that_nobody_serves_is_not_found(caller: Caller) -> None:
    problem(caller.get("/api/nothing"), 404)
    assert caller.get("/nothing")["Content-Type"].startswith("text/html")


def test_another_host_is_refused(caller: Caller) -> None:
    assert caller.get("/api/search", host="evil.example").status_code == 400


@pytest.mark.parametrize("method", ["put", "patch", "delete", "post"])
def test_another_method_is_not_allowed(caller: Caller, method: str) -> None:
    answer = getattr(caller.client, method)("/api/search", headers=caller.headers)
    problem(answer, 405)
    assert set(answer["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=0.9"])
def test_an_answer_that_nobody_can_read_is_not_acceptable(caller: Caller, accept: str) -> None:
    problem(caller.get("/api/search", accept=accept), 406)
    problem(caller.post("/api/echo", {}, accept=accept), 406)


@pytest.mark.parametrize("accept", ["", " ", "*/*", "application/*", "application/json", "text/html, */*;q=0.1"])
def test_who_reads_anything_reads_json(caller: Caller, accept: str) -> None:
    assert caller.get("/api/search", accept=accept)["Content-Type"] == "application/json"
