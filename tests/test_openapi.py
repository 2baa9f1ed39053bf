"""The OpenAPI document has every endpoint, and refers to nothing that is not there."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from django.test import Client
from rest_framework.views import APIView

from api.openapi import TAGS, WHEN, Endpoint, endpoints, openapi
from eventbus import encode_json
from eventbus.tests.references import at, references

ENDPOINTS = list(endpoints())


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(encode_json(openapi()))


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        yield from ((f"{name} {path}", each) for name, each in methods.items() if name != "parameters")


def test_every_method_of_every_view_is_in_it(document: Any) -> None:
    told = [name for name, _ in operations(document)]
    assert sorted(told) == sorted(f"{each.method} {each.path}" for each in ENDPOINTS)
    assert len(told) == len(set(told)) > 15


def test_a_view_that_says_nothing_of_itself_is_named_with_advice() -> None:
    class Silent(APIView):
        def get(self, request: object) -> None: ...

    with pytest.raises(LookupError, match=r"Silent\.get.*@operation"):
        Endpoint("api/v1/silent", "get", Silent)


def test_its_references_lead_somewhere_and_all_that_is_shared_is_used(document: Any) -> None:
    found = set(references(document))
    assert all(at(document, each) is not None for each in found)
    shared = {f"#/components/{kind}/{name}" for kind in ("schemas", "headers") for name in document["components"][kind]}
    assert shared == found


def test_each_operation_has_its_own_name_and_a_known_tag(document: Any) -> None:
    told = dict(operations(document))
    assert len({each["operationId"] for each in told.values()}) == len(told)
    assert {tag for each in told.values() for tag in each["tags"]} == set(TAGS)
    assert all(each["summary"] and each["description"] for each in told.values())


def test_who_may_call_it_follows_from_the_view(document: Any) -> None:
    told = dict(operations(document))
    assert told["get /asyncapi.json"]["security"] == []
    assert "401" not in told["get /asyncapi.json"]["responses"]
    assert {"401", "429", "503"} <= told["get /api/v1/orders"]["responses"].keys()
    assert "403" not in told["get /api/v1/orders"]["responses"]
    assert "403" in told["post /api/v1/stock/{productId}/counts"]["responses"]


def test_an_order_is_placed_as_it_says(document: Any) -> None:
    told = document["paths"]["/api/v1/orders"]["post"]
    assert [each["name"] for each in told["parameters"]] == ["Idempotency-Key"]
    assert set(told["responses"]) == {*map(str, WHEN), "201"} - {"403", "404", "412", "428"}
    headers = told["responses"]["201"]["headers"]
    assert {"Location", "RateLimit", "RateLimit-Policy", "Idempotent-Replayed", "x-correlation-id"} == set(headers)
    assert "Retry-After" in told["responses"]["429"]["headers"]
    conflict = told["responses"]["409"]["content"]["application/problem+json"]["examples"]
    assert list(conflict) == ["idempotency-key-in-flight"]


def test_a_parameter_is_never_null(document: Any) -> None:
    for name, each in operations(document):
        for parameter in each["parameters"]:
            assert "null" not in json.dumps(parameter["schema"]), name


def test_every_example_is_one(document: Any) -> None:
    seen = 0
    for _, content in contents(document):
        judge = jsonschema_rs.Draft202012Validator(
            {**content["schema"], "components": document["components"]}, validate_formats=True
        )
        for example in content.get("examples", {}).values():
            judge.validate(example["value"])
            seen += 1
    assert seen > 100


def contents(document: Any) -> Iterator[tuple[str, Any]]:
    for name, each in operations(document):
        for holder in (each.get("requestBody", {}), *each["responses"].values()):
            yield from ((name, content) for content in holder.get("content", {}).values())


def test_it_is_served_to_everybody() -> None:
    client = Client(raise_request_exception=False)
    answer = client.get("/api/openapi.json")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.json()["openapi"] == "3.1.0"
    again = client.get("/api/openapi.json", headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
