"""Whoever has a message finds its schema at the address that it carries, without a token."""

import json
from typing import Any

import jsonschema_rs
import pytest
from django.test import Client

from api.tests.callers import problem
from eventbus import published_schema

ADDRESS = "/api/v1/schemas/order.created/1.0"


@pytest.fixture
def anybody() -> Client:
    return Client(raise_request_exception=False)


def test_a_schema_is_served_as_it_is_published(anybody: Client) -> None:
    answer = anybody.get(ADDRESS)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.content == published_schema("order.created", "1.0")
    schema = json.loads(answer.content)
    assert schema["$id"] == ADDRESS
    jsonschema_rs.meta.validate(schema)


def test_who_has_it_already_is_told_so(anybody: Client) -> None:
    first = anybody.get(ADDRESS)
    assert first["Cache-Control"] == "public, max-age=86400"
    again = anybody.get(ADDRESS, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    other = anybody.get(ADDRESS, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize(
    "path",
    ["order.created/9.0", "order.eaten/1.0", "order.created/1", "../pyproject", "..%2F..%2Fa/1.0", "a/b%00"],
)
def test_what_is_not_published_is_not_found(anybody: Client, path: str) -> None:
    answer: Any = anybody.get(f"/api/v1/schemas/{path}")
    problem(answer, 404)


def test_the_events_are_served_as_asyncapi(anybody: Client) -> None:
    answer = anybody.get("/asyncapi.json")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    document = answer.json()
    assert document["asyncapi"] == "3.0.0"
    assert document["components"]["messages"]["order.created-1.0"]["x-superseded-by"] == "order.created-2.0"
    again = anybody.get("/asyncapi.json", headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
