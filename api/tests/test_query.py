"""What may be asked, and how."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from api.tests.callers import Caller, pointers, problem

SEARCH, PAST = "/api/search", "/api/past"


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("limit=0", {"/limit": "greater_than_equal"}),
        ("limit=many", {"/limit": "int_parsing"}),
        ("limit=9&day=today", {"/limit": "less_than_equal", "/day": "day"}),
        ("someText=", {"/someText": "string_too_short"}),
        ("someText=%00", {"/someText": "string_pattern_mismatch"}),
        ("some_text=x", {"/some_text": "extra_forbidden"}),
        ("format=api", {"/format": "extra_forbidden"}),
        ("a~b=1", {"/a~0b": "extra_forbidden"}),
        ("limit=1&limit=1", {"/limit": "repeated"}),
        ("limit=1&limit=2&x=1&x=2", {"/limit": "repeated", "/x": "repeated"}),
        ("since=yesterday", {"/since": "moment"}),
        ("since=", {"/since": "moment"}),
        ("since=2026-02-01", {"/since": "moment"}),
        ("since=2026-02-01T00:00:00", {"/since": "moment"}),
        ("since=1700000000", {"/since": "moment"}),
        ("since=2026-02-01T00:00:00.Z", {"/since": "moment"}),
        ("since=2026-02-01T00:00:001Z", {"/since": "moment"}),
        ("day=1969-12-31", {"/day": "greater_than_equal"}),
        ("day=9999-12-31", {"/day": "less_than_equal"}),
        ("since=2026-02-30T00:00:00Z", {"/since": "datetime_from_date_parsing"}),
        ("day=20260301", {"/day": "day"}),
        ("day=2026-3-1", {"/day": "day"}),
        ("day=2026-02-30", {"/day": "day"}),
        ("day=2026-W10-1", {"/day": "day"}),
    ],
)
def test_what_cannot_be_asked_is_a_bad_request(caller: Caller, query: str, wrong: dict[str, str]) -> None:
    answer = caller.get(f"{SEARCH}?{query}")
    assert problem(answer, 400)["type"].endswith(":invalid")
    assert pointers(answer) == wrong


def test_a_name_without_end_is_shown_in_part(caller: Caller) -> None:
    assert list(pointers(caller.get(SEARCH, {"x" * 1000: "1"}))) == ["/" + "x" * 64]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("2026-02-01t00:00:00.5z", "2026-02-01T00:00:00.500000Z"),
        ("2026-02-01T00:00:00.123456789Z", "2026-02-01T00:00:00.123456Z"),
        ("2026-02-01T00:00:00.9999999999999+01:00", "2026-02-01T00:00:00.999999+01:00"),
    ],
)
def test_a_moment_may_have_any_number_of_digits_and_keeps_six(caller: Caller, written: str, read: str) -> None:
    assert caller.get(SEARCH, {"since": written}).json()["since"] == read


@pytest.mark.parametrize(
    "query",
    ["asOf=", "asOf=9999-12-31T23:59:59Z", "asof=2026-02-01T00:00:00Z", "asOf=%00", "asOf=2026-13-01T00:00:00Z"],
)
def test_only_what_has_been_can_be_asked_for_as_it_was(caller: Caller, query: str) -> None:
    problem(caller.get(f"{PAST}?{query}"), 400)


def test_a_moment_of_the_past_is_read_in_utc_and_not_before_1970(caller: Caller) -> None:
    assert caller.get(PAST, {"asOf": "2026-02-01T05:30:00.123456789+05:30"}).json() == {
        "asOf": "2026-02-01T00:00:00.123456Z"
    }
    assert caller.get(PAST, {"asOf": "0001-01-01T00:00:00+14:00"}).json() == {"asOf": "1970-01-01T00:00:00Z"}
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert pointers(caller.get(PAST, {"asOf": soon.isoformat()})) == {"/asOf": "still_to_come"}


def test_a_page_leads_on_with_all_else_that_was_asked(caller: Caller) -> None:
    first = caller.get("/api/numbers/a%3Fb%23c d", {"kind": "a&b"}).json()
    assert (first["results"], first["previous"]) == ([0, 1], None)
    assert first["next"] == "http://testserver/api/numbers/a%3Fb%23c%20d?kind=a%26b&from=2"
    second = caller.get(first["next"]).json()
    assert second["results"] == [2, 3]
    assert second["previous"] == "http://testserver/api/numbers/a%3Fb%23c%20d?kind=a%26b"


def test_an_id_is_the_same_in_either_case(caller: Caller) -> None:
    group_id = "01a2177f-1233-733e-b54c-5aa1a5303314"
    made = caller.post(f"/api/upper/{group_id.upper()}", idempotency_key="k")
    assert made.json()["name"] == f"{UUID(group_id)}/nobody"
    assert caller.post(f"/api/upper/{group_id}", idempotency_key="k").content == made.content


@pytest.mark.parametrize("path", ["/api/upper/none", "/api/upper/" + "0" * 36, "/api/groups/a%00b", "/api/groups/a%0A"])
def test_what_cannot_be_an_id_is_not_found(caller: Caller, path: str) -> None:
    problem(caller.post(path), 404)
