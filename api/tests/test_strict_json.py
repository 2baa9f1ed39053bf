"""What is read as a body, and what is not."""

import json
from typing import Any

import pytest

from api.tests.callers import Caller, pointers, problem

ECHO = "/api/echo"


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"items": [{"b": 1, "b": 1}]}',
        b'{"a": 1} {}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "\xff"}',
        b'{"a": "line\nbreak"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1e99999999999999999999}',
        b'{"items": [{"quantity": 1E+999999999}]}',
        b'{"totalAmount": 1e-101}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
)
def test_what_is_not_json_is_a_bad_request(caller: Caller, body: bytes) -> None:
    answer = problem(caller.post(ECHO, body), 400)
    assert answer["type"].endswith(":not-json")
    assert "sys." not in answer["detail"]


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b'{"a":[1,2.50,0.000,1E+2]}'])
def test_numbers_keep_their_digits_and_everything_else_its_form(caller: Caller, body: bytes) -> None:
    answer = caller.post(ECHO, body)
    assert (answer.status_code, answer.content if body != b"null" else b"null") == (200, body)


def test_a_body_beyond_the_limit_is_too_large(caller: Caller) -> None:
    problem(caller.post(ECHO, b'{"a": "' + b"x" * 1_000_000 + b'"}'), 413)


def test_a_chunked_body_is_read_and_held_to_the_same_limit(caller: Caller) -> None:
    problem(caller.send_chunked(ECHO, b'{"a": "' + b"x" * 1_000_000 + b'"}'), 413)
    assert caller.send_chunked(ECHO, b'{"a": 1}').json() == {"a": 1}
    problem(caller.send_chunked(ECHO, b""), 400)
    # Where a body is optional, no chunks at all are none.
    assert caller.send_chunked("/api/groups/a", b"").json()["name"] == "a/nobody"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json;charset=latin-1",
    ],
)
def test_another_content_type_is_unsupported(caller: Caller, content_type: str) -> None:
    answer = caller.post(ECHO, {"a": 1}, content_type=content_type)
    problem(answer, 415)
    assert answer["Accept"] == "application/json"


def test_a_compressed_body_is_unsupported(caller: Caller) -> None:
    answer = caller.post(ECHO, {"a": 1}, content_encoding="gzip")
    problem(answer, 415)
    assert answer["Accept-Encoding"] == "identity"


def test_no_body_at_all_is_unsupported_where_one_is_needed(caller: Caller) -> None:
    problem(caller.client.generic("POST", ECHO, content_type="", headers=caller.headers), 415)
    answer = caller.client.generic("POST", "/api/groups/a", content_type="", headers=caller.headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"'])
def test_json_may_say_that_it_is_utf_8(caller: Caller, content_type: str) -> None:
    assert caller.post(ECHO, {"a": "é"}, content_type=content_type).json() == {"a": "é"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"name": ""}, {"/name": "string_too_short"}),
        ({"name": " \u00a0"}, {"/name": "blank"}),
        ({"name": "two\nlines"}, {"/name": "string_pattern_mismatch"}),
        ({"name": 7, "a/b~c": 1}, {"/name": "string_type", "/a~1b~0c": "extra_forbidden"}),
        ([], {"": "model_type"}),
        (None, {"": "model_type"}),
    ],
)
def test_what_is_wrong_with_a_body_is_pointed_at(caller: Caller, body: Any, wrong: dict[str, str]) -> None:
    answer = caller.post("/api/groups/a", body)
    assert problem(answer, 422)["type"].endswith(":invalid")
    assert pointers(answer) == wrong


@pytest.mark.parametrize("name", ["\\ud800", "a\\u0000b", "\\udfff\\ud800"])
def test_half_a_character_or_nul_is_invalid_as_value_and_as_name(caller: Caller, name: str) -> None:
    text = json.dumps({"name": "x"})
    for body in (text.replace("x", name), text.replace("name", name)):
        assert problem(caller.post("/api/groups/a", body.encode()), 422)["errors"]


def test_a_problem_lists_a_hundred_errors_at_most(caller: Caller) -> None:
    answer = caller.post("/api/groups/a", {f"unknown {n}": n for n in range(500)})
    assert len(answer.json()["errors"]) == 100
