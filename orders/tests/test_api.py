"""The API beside what an order says: tokens, lists, histories, and everything that is not an order."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from knox.models import AuthToken

from eventbus import encode_json
from eventbus.testing import deliver
from inventory.events import InventoryReserved
from orders import consumers, intake, services
from orders.auth import ChannelAuthentication
from orders.models import Order, Status
from orders.tests.builders import PATH, Api, a_channel, an_order, placed_order


def problem(answer: Any, status: int) -> Any:
    """The answer's body, which must be a problem of that status."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["correlationId"] == answer["x-correlation-id"]
    assert {"type", "title", "detail"} <= set(body)
    return body


class TestTokens:
    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer nonsense", "Bearer two words", "Basic YTpi", "Bearer \xff", "bearer é"]
    )
    def test_without_a_good_token_nothing_is_said(self, api: Api, header: str | None) -> None:
        api.headers = {} if header is None else {"Authorization": header}
        for answer in (api.get(), api.post(), api.get(f"{PATH}/{uuid4()}")):
            problem(answer, 401)
            assert answer["WWW-Authenticate"] == "Bearer"

    def test_an_expired_token_is_none(self, api: Api) -> None:
        AuthToken.objects.update(expiry=datetime.now(UTC) - timedelta(seconds=1))
        problem(api.get(), 401)

    def test_a_channel_that_was_closed_is_out(self, api: Api) -> None:
        api.user.is_active = False
        api.user.save()
        problem(api.get(), 401)

    def test_a_token_is_looked_up_in_one_statement(self, api: Api) -> None:
        with CaptureQueriesContext(connection) as queries:
            api.get(cursor="bad")
        assert len(queries) == 1

    @pytest.mark.parametrize("rights", [{}, {"is_staff": True}, {"is_superuser": True}])
    def test_a_token_gives_its_users_rights_and_no_others(self, db: None, rights: dict[str, bool]) -> None:
        known = a_channel(**rights)
        _, token = AuthToken.objects.create(known)
        user, _ = ChannelAuthentication().authenticate_credentials(token.encode())
        for name in ("pk", "username", "is_staff", "is_superuser", "is_active"):
            assert getattr(user, name) == getattr(known, name)

    def test_create_channel_prints_a_token_that_works(self, db: None, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("create_channel", "web-shop", "--json", "--days", "7")
        made = json.loads(capsys.readouterr().out)
        api = Api(a_channel())
        api.headers = {"Authorization": f"Bearer {made['token']}"}
        order = Order.objects.get(pk=api.place())
        assert made["channel"] == order.channel.username == "web-shop"
        assert not order.channel.is_staff
        assert not order.channel.has_usable_password()
        assert timedelta(days=6) < datetime.fromisoformat(made["expires"]) - datetime.now(UTC) <= timedelta(days=7)

    def test_a_fresh_token_leaves_the_old_one_unless_told(self, db: None) -> None:
        tokens = [services.create_channel(name="shop", days=1)[0] for _ in range(2)]
        assert AuthToken.objects.count() == 2
        tokens.append(services.create_channel(name="shop", days=1, revoke=True)[0])
        assert AuthToken.objects.count() == 1
        assert len(set(tokens)) == 3

    @pytest.mark.parametrize("arguments", [["bad name!"], ["x" * 151], ["shop", "--days", "0"]])
    def test_create_channel_says_what_is_wrong(self, db: None, arguments: list[str]) -> None:
        with pytest.raises(CommandError):
            call_command("create_channel", *arguments)

    def test_create_staff_token_prints_a_token_that_works(self, staff: Any, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("create_staff_token", staff.username, "--json")
        made = json.loads(capsys.readouterr().out)
        user, _ = ChannelAuthentication().authenticate_credentials(made["token"].encode())
        assert (user.pk, user.is_staff) == (staff.pk, True)
        assert datetime.fromisoformat(made["expires"]) - datetime.now(UTC) <= timedelta(days=1)

    @pytest.mark.parametrize("arguments", [["nobody"], ["channel-of-test"], ["staff-of-test", "--days", "0"]])
    def test_only_staff_get_a_staff_token(self, db: None, arguments: list[str]) -> None:
        a_channel(username="channel-of-test")
        a_channel(username="staff-of-test", is_staff=True)
        with pytest.raises(CommandError):
            call_command("create_staff_token", *arguments)
        assert not AuthToken.objects.exists()

    def test_a_person_does_not_become_a_channel(self, staff: Any) -> None:
        with pytest.raises(CommandError, match="person"):
            call_command("create_channel", staff.username)


class TestOneOrder:
    def test_another_channels_order_is_not_there(self, api: Api) -> None:
        theirs = placed_order()
        for path in (
            f"{PATH}/{theirs.pk}",
            f"{PATH}/{theirs.pk}/events",
            f"{PATH}/{uuid4()}",
            f"{PATH}/none",
            f"{PATH}/",
        ):
            problem(api.get(path), 404)

    def test_staff_see_every_order(self, staff: Any) -> None:
        order = placed_order()
        api = Api(staff)
        assert api.get(f"{PATH}/{order.pk}").json()["orderId"] == str(order.pk)
        assert len(api.get(f"{PATH}/{order.pk}/events").json()["results"]) == 1
        assert len(api.get().json()["results"]) == 1

    def test_its_history_is_its_events_in_order(self, api: Api) -> None:
        order_id = api.place()
        deliver(InventoryReserved(order_id=order_id, items=()), to=consumers.confirm)
        answer = api.get(f"{PATH}/{order_id}/events").json()
        assert [(event["eventType"], event["sequence"]) for event in answer["results"]] == [
            ("order.created", 1),
            ("order.confirmed", 2),
        ]
        created = answer["results"][0]
        assert set(created) == {
            *("version", "eventId", "eventType", "aggregateType", "aggregateId", "sequence", "occurredAt"),
            *("metadata", "data"),
        }
        assert created["data"]["orderId"] == created["aggregateId"] == str(order_id)

    def test_amounts_in_a_history_keep_their_digits(self, api: Api) -> None:
        assert b'"totalAmount":45.30' in api.get(f"{PATH}/{api.place()}/events").content


class TestLists:
    def test_a_channel_sees_its_own_newest_first(self, api: Api) -> None:
        placed_order()
        mine = [str(api.place()) for _ in range(3)]
        answer = api.get().json()
        assert [order["orderId"] for order in answer["results"]] == mine[::-1]
        assert (answer["next"], answer["previous"]) == (None, None)

    def test_pages_lead_forth_and_back_without_gap_or_repeat(self, api: Api) -> None:
        mine = [str(api.place()) for _ in range(5)][::-1]
        page = api.get(limit=2, status="CREATED").json()
        seen = [page]
        while page["next"]:
            page = api.client.get(page["next"], headers=api.headers).json()
            seen.append(page)
        assert [[order["orderId"] for order in page["results"]] for page in seen] == [mine[:2], mine[2:4], mine[4:]]
        assert parse_qs(urlsplit(seen[0]["next"]).query).keys() == {"limit", "status", "cursor"}
        back = api.client.get(seen[2]["previous"], headers=api.headers).json()
        assert back["results"] == seen[1]["results"]
        assert api.client.get(back["next"], headers=api.headers).json()["results"] == seen[2]["results"]
        first = api.client.get(back["previous"], headers=api.headers).json()
        assert first == seen[0]

    def test_a_page_takes_as_many_statements_with_ten_orders_as_with_one(self, api: Api) -> None:
        counts = []
        for more in (1, 9):
            for _ in range(more):
                api.place()
            with CaptureQueriesContext(connection) as queries:
                api.get()
            counts.append(len(queries))
        assert counts == [3, 3]

    def test_filters_narrow_a_list(self, api: Api) -> None:
        first, second = api.place(customerId="a"), api.place(customerId="b")
        services.confirm_order(order_id=second)
        middle = Order.objects.get(pk=second).created_at

        def found(**query: Any) -> list[str]:
            return [order["orderId"] for order in api.get(**query).json()["results"]]

        assert found(status="CONFIRMED") == found(customerId="b") == [str(second)]
        assert found(createdFrom=middle.isoformat()) == [str(second)]
        assert found(createdTo=middle.isoformat()) == [str(first)]
        assert found(createdTo=middle.isoformat(), status="CONFIRMED") == []
        assert found(createdFrom="0001-01-01T00:00:00Z", createdTo="9999-12-31T23:59:59Z") == [str(second), str(first)]
        assert found(createdFrom="9999-12-31T23:59:59-12:00") == []

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ({"status": "LOST"}, "/status"),
            ({"status": "created"}, "/status"),
            ({"status": "CREATED' OR 1=1 --"}, "/status"),
            ({"customerId": ""}, "/customerId"),
            ({"customerId": "a\0b"}, "/customerId"),
            ({"customerId": "x" * 65}, "/customerId"),
            ({"createdFrom": "yesterday"}, "/createdFrom"),
            ({"createdFrom": "2026-02-01"}, "/createdFrom"),
            ({"createdFrom": "2026-02-01T00:00:00"}, "/createdFrom"),
            ({"createdFrom": "1700000000"}, "/createdFrom"),
            ({"createdTo": "2026-02-30T00:00:00Z"}, "/createdTo"),
            ({"limit": "0"}, "/limit"),
            ({"limit": "201"}, "/limit"),
            ({"limit": "many"}, "/limit"),
            ({"cursor": ""}, "/cursor"),
            ({"cursor": "x"}, "/cursor"),
            ({"cursor": "'; DROP TABLE event; --"}, "/cursor"),
            ({"cursor": "PgGiDCsZwnMSh33Gjuu6fGc="}, "/cursor"),
            ({"cursor": "é"}, "/cursor"),
            ({"ordering": "-total_amount"}, "/ordering"),
            ({"channel__username": "x"}, "/channel__username"),
            ({"status": ["CREATED", "CONFIRMED"]}, "/status"),
        ],
    )
    def test_what_cannot_be_asked_is_a_bad_request(self, api: Api, query: dict[str, Any], pointer: str) -> None:
        body = problem(api.get(**query), 400)
        assert [error["pointer"] for error in body["errors"]] == [pointer]


class TestBadRequests:
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
    def test_what_is_no_json_is_a_bad_request(self, api: Api, body: bytes) -> None:
        answer = problem(api.post(body), 400)
        assert answer["type"].endswith(":not-json")
        assert "sys." not in answer["detail"]

    @pytest.mark.parametrize("depth", [50, 500, 900])
    def test_deep_json_is_refused_one_way_or_the_other(self, api: Api, depth: int) -> None:
        nested = b"[" * depth + b"]" * depth
        answer = api.post(b'{"items": ' + nested + b', "x": ' + nested + b"}")
        assert answer.status_code in (400, 422)

    @pytest.mark.parametrize("name", ["\\ud800", "a\\u0000b", "\\udfff\\ud800"])
    def test_half_a_character_or_nul_is_invalid_as_value_and_as_name(self, api: Api, name: str) -> None:
        text = json.dumps(an_order(totalAmount=0, items=[]))
        assert api.post(text.replace("c-1", name).encode()).status_code == 422
        assert problem(api.post(text.replace("customerId", name).encode()), 422)["errors"]

    def test_a_body_beyond_the_limit_is_too_large(self, api: Api) -> None:
        problem(api.post(b'{"a": "' + b"x" * 1_000_000 + b'"}'), 413)

    def test_a_chunked_body_is_read_and_held_to_the_same_limit(self, api: Api) -> None:
        def post_chunked(body: bytes) -> Any:
            chunks: dict[str, Any] = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": ""}
            headers = {**api.headers, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            return api.client.generic("POST", PATH, headers=headers, **chunks)

        problem(post_chunked(b'{"a": "' + b"x" * 1_000_000 + b'"}'), 413)
        assert post_chunked(encode_json(an_order())).status_code == 201

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
    def test_another_content_type_is_unsupported(self, api: Api, content_type: str) -> None:
        problem(api.post(content_type=content_type), 415)

    def test_a_compressed_body_is_unsupported(self, api: Api) -> None:
        problem(api.post(content_encoding="gzip"), 415)

    def test_no_body_at_all_is_unsupported(self, api: Api) -> None:
        problem(api.client.post(PATH, headers=api.headers), 415)

    @pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"'])
    def test_json_may_say_that_it_is_utf_8(self, api: Api, content_type: str) -> None:
        assert api.post(content_type=content_type).status_code == 201

    def test_an_answer_that_nobody_can_read_is_not_acceptable(self, api: Api) -> None:
        api.headers["Accept"] = "text/html"
        problem(api.post(), 406)
        problem(api.get(), 406)

    @pytest.mark.parametrize("method", ["put", "patch", "delete"])
    def test_another_method_is_not_allowed(self, api: Api, method: str) -> None:
        answer = getattr(api.client, method)(PATH, headers=api.headers)
        problem(answer, 405)
        assert set(answer["Allow"].split(", ")) == {"GET", "POST", "HEAD", "OPTIONS"}

    def test_an_address_that_nobody_serves_is_not_found(self, api: Api) -> None:
        problem(api.get("/api/v1/nothing"), 404)
        assert api.client.get("/nothing")["Content-Type"].startswith("text/html")

    def test_another_host_is_refused(self, api: Api) -> None:
        assert api.client.get(PATH, headers={**api.headers, "Host": "evil.example"}).status_code == 400

    def test_nothing_of_the_server_shows_when_something_breaks(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        def break_down(*_: Any, **__: Any) -> None:
            raise RuntimeError("the secret inside")

        monkeypatch.setattr(intake, "publish_with", break_down)
        assert "secret" not in json.dumps(problem(api.post(), 500))

    @pytest.mark.parametrize("error", [OperationalError, InterfaceError, InternalError])
    def test_a_database_that_does_not_answer_is_503_and_worth_a_retry(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error("connection to server at 10.0.0.1 failed")

        monkeypatch.setattr(intake, "publish_with", fail)
        answer = api.post()
        assert "10.0.0.1" not in json.dumps(problem(answer, 503))
        assert answer["Retry-After"] == "1"


def test_every_status_that_the_api_promises_exists() -> None:
    assert set(Status.values) == {"CREATED", "CONFIRMED", "REJECTED", "CANCELLED", "SHIPPED"}
