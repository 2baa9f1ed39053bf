"""Every endpoint answers alike: a row per endpoint, a test per promise of docs/place-orders.md.

An endpoint without a row fails the first test.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import URLPattern, URLResolver, get_resolver
from pydantic.alias_generators import to_camel

from analytics.consumers import customer_orders
from analytics.tests.builders import story
from api.openapi import openapi
from api.tests.callers import Caller, pointers, problem
from eventbus import encode_json
from eventbus.testing import deliver
from inventory.consumers import reserve_stock
from inventory.services import receive_stock
from inventory.tests.builders import order_created
from orders import services
from orders.events import OrderCreated
from orders.tests.builders import an_order, placed_order
from shipping.tests.builders import SOON, prepared_shipment
from webhooks.services import ping
from webhooks.tests.builders import a_webhook

pytestmark = pytest.mark.django_db

PREFIX = "api/v1/"
DISPATCH = {"carrier": "Fast Parcel", "trackingNumber": "FP-1", "estimatedDelivery": SOON.isoformat()}
NANOSECONDS = "2026-02-01T00:00:00.123456789Z"


def a_customer(_: User) -> str:
    deliver(story("created", customer_id="c-1"), to=customer_orders)
    return "analytics/customers/c-1/orders"


def a_product(suffix: str = "") -> Callable[[User], str]:
    def make(_: User) -> str:
        receive_stock(product_id="cup", product_name="Cup", quantity=5)
        return f"stock/cup{suffix}"

    return make


def an_order_of_theirs(suffix: str = "") -> Callable[[User], str]:
    return lambda user: f"orders/{placed_order(user).pk}{suffix}"


def their_webhook(suffix: str = "") -> Callable[[User], str]:
    return lambda user: f"webhooks/{a_webhook(user)[0].pk}{suffix}"


def their_delivery(suffix: str = "") -> Callable[[User], str]:
    def make(user: User) -> str:
        webhook, _ = a_webhook(user)
        return f"webhooks/{webhook.pk}/deliveries/{ping(webhook.pk).pk}{suffix}"

    return make


@dataclass(frozen=True)
class Endpoint:
    """`make` makes what a valid request needs for this user, and returns its path below /api/v1/."""

    method: str
    route: str
    make: Callable[[User], str]
    status: int = 200
    staff_only: bool = False
    #: Asks for no token.
    public: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    #: What has to be in the query.
    query: str = ""
    #: Parameters of the query that are wrong.
    wrong_query: Mapping[str, str] = field(default_factory=dict)
    #: Parameters of the query that take a moment.
    moments: tuple[str, ...] = ()
    body: Any = None
    body_optional: bool = False
    #: Fields that make a body wrong, each by its name.
    wrong_body: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


ORDER, STOCK = "<id:order_id>", "<text:product_id>"
WEBHOOK = "webhooks/<id:webhook_id>"
DELIVERY = f"{WEBHOOK}/deliveries/<id:delivery_id>"
#: Of a page of what is listed by ids.
WRONG_PAGE = {"limit": "201", "before": "x"}
HOOK = {"url": "https://partner.example/hook", "eventTypes": [OrderCreated.type], "filters": {"currency": ["USD"]}}
WRONG_HOOK = {
    "url": "https://127.0.0.1/",
    "eventTypes": ["order.lost"],
    "filters": {"colour": ["red"]},
    "description": "two\nlines",
}
DAYS = {"from": "20260301", "to": "9999-12-31"}
ENDPOINTS = [
    Endpoint(
        "GET",
        "schemas/<str:event_type>/<str:version>",
        lambda _: f"schemas/{OrderCreated.type}/{OrderCreated.version}",
        public=True,
    ),
    Endpoint(
        "GET",
        "orders",
        lambda _: "orders",
        wrong_query={"limit": "0", "status": "LOST", "cursor": "x", "createdTo": "today", "customerId": "a\0"},
        moments=("createdFrom", "createdTo"),
    ),
    Endpoint(
        "POST",
        "orders",
        lambda _: "orders",
        status=201,
        body=an_order(),
        wrong_body={"customerId": " ", "items": [], "totalAmount": "1", "currency": None},
    ),
    Endpoint(
        "GET", f"orders/{ORDER}", an_order_of_theirs(), wrong_query={"asOf": "9999-12-31T23:59:59Z"}, moments=("asOf",)
    ),
    Endpoint("GET", f"orders/{ORDER}/events", an_order_of_theirs("/events")),
    Endpoint(
        "GET",
        "events",
        lambda _: "events",
        query="correlationId=a",
        wrong_query={"limit": "201", "after": "x"},
    ),
    Endpoint(
        "POST",
        f"orders/{ORDER}/cancel",
        an_order_of_theirs("/cancel"),
        body={"reason": "changed their mind"},
        body_optional=True,
        wrong_body={"reason": ""},
    ),
    Endpoint("GET", "stock", lambda _: "stock", wrong_query={"limit": "x", "after": "\0", "before": "x" * 65}),
    Endpoint("GET", f"stock/{STOCK}", a_product(), wrong_query={"asOf": "2026-02-01"}, moments=("asOf",)),
    Endpoint(
        "POST",
        f"stock/{STOCK}/receipts",
        a_product("/receipts"),
        status=201,
        staff_only=True,
        body={"quantity": 5, "productName": "Cup"},
        wrong_body={"quantity": "5", "productName": "  "},
    ),
    Endpoint(
        "POST",
        f"stock/{STOCK}/counts",
        a_product("/counts"),
        status=201,
        staff_only=True,
        headers={"If-Match": '"1"'},
        body={"counted": 4, "reason": "one broke"},
        wrong_body={"counted": -1, "reason": "\n"},
    ),
    Endpoint(
        "POST",
        f"shipments/{ORDER}/dispatch",
        lambda _: f"shipments/{prepared_shipment().pk}/dispatch",
        staff_only=True,
        body=DISPATCH,
        wrong_body={"carrier": " ", "trackingNumber": 1, "estimatedDelivery": f"{SOON}Tgarbage"},
    ),
    Endpoint(
        "GET",
        "analytics/sales/daily",
        lambda _: "analytics/sales/daily",
        staff_only=True,
        wrong_query=DAYS | {"currency": "usd"},
    ),
    Endpoint(
        "GET",
        "analytics/sales/products",
        lambda _: "analytics/sales/products",
        staff_only=True,
        wrong_query=DAYS | {"limit": "501"},
    ),
    Endpoint(
        "GET",
        "analytics/customers/<text:customer_id>/orders",
        a_customer,
        staff_only=True,
        wrong_query={"limit": "201", "before": "x"},
    ),
    Endpoint("GET", "analytics/fulfilment", lambda _: "analytics/fulfilment", staff_only=True, wrong_query=DAYS),
    Endpoint("GET", "webhooks", lambda _: "webhooks", wrong_query=WRONG_PAGE),
    Endpoint("POST", "webhooks", lambda _: "webhooks", status=201, body=HOOK, wrong_body=WRONG_HOOK),
    Endpoint("GET", WEBHOOK, their_webhook()),
    Endpoint("PATCH", WEBHOOK, their_webhook(), body={"description": "orders"}, wrong_body=WRONG_HOOK | {"active": 1}),
    Endpoint("DELETE", WEBHOOK, their_webhook()),
    Endpoint("POST", f"{WEBHOOK}/rotate-secret", their_webhook("/rotate-secret"), body={}, body_optional=True),
    Endpoint("POST", f"{WEBHOOK}/ping", their_webhook("/ping"), status=202, body={}, body_optional=True),
    Endpoint(
        "POST",
        f"{WEBHOOK}/recover",
        their_webhook("/recover"),
        status=202,
        body={"since": "2026-02-01T00:00:00Z"},
        wrong_body={"since": "yesterday"},
    ),
    Endpoint(
        "GET",
        f"{WEBHOOK}/deliveries",
        lambda user: their_delivery()(user).rpartition("/")[0],
        wrong_query=WRONG_PAGE | {"state": "LOST"},
    ),
    Endpoint("GET", DELIVERY, their_delivery()),
    Endpoint("POST", f"{DELIVERY}/resend", their_delivery("/resend"), status=202, body={}, body_optional=True),
]
POSTS = [each for each in ENDPOINTS if each.method == "POST"]
#: They take a body, and an Idempotency-Key.
WRITES = [each for each in ENDPOINTS if each.method in ("POST", "PATCH")]

CANCEL, COUNTS, DISPATCHES = (
    next(each for each in POSTS if each.route.endswith(name)) for name in ("/cancel", "/counts", "/dispatch")
)

every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
every_write = pytest.mark.parametrize("endpoint", WRITES, ids=str)


class Call:
    """A valid request to an endpoint, to be made with one thing changed."""

    def __init__(self, endpoint: Endpoint, caller: Caller) -> None:
        self.endpoint, self.caller = endpoint, caller
        self.path = f"/{PREFIX}{endpoint.make(caller.user)}"

    def __call__(
        self, *, body: Any = ..., query: str = "", path: str = "", method: str = "", **headers: str | None
    ) -> Any:
        """A header that is None is left out."""
        sent = self.endpoint.body if body is ... else body
        raw = sent if isinstance(sent, bytes) else b"" if sent is None else encode_json(sent)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {**self.caller.headers, "Content-Type": "application/json", **self.endpoint.headers}
        headers_sent = {name: value for name, value in {**usual, **named}.items() if value is not None}
        asked = "&".join(each for each in (self.endpoint.query, query) if each)
        return self.caller.client.generic(
            method or self.endpoint.method,
            f"{path or self.path}{asked and '?'}{asked}",
            raw,
            content_type=headers_sent.pop("Content-Type"),
            headers=headers_sent,
        )


@pytest.fixture
def staff(db: None) -> Caller:
    return Caller(User.objects.create_user("clerk", is_staff=True))


@pytest.fixture
def channel(db: None) -> Caller:
    return Caller(User.objects.create_user("channel"))


@pytest.fixture
def call(endpoint: Endpoint, staff: Caller, channel: Caller) -> Call:
    return Call(endpoint, staff if endpoint.staff_only else channel)


def kind(answer: Any) -> str:
    return str(answer.json()["type"].rpartition(":")[2])


def test_every_endpoint_has_a_row() -> None:
    served = {
        (method, pattern.partition(PREFIX)[2])
        for pattern, view in routes(get_resolver().url_patterns)
        if pattern.startswith(PREFIX)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if hasattr(view.view_class, method.lower())
    }
    assert served == {(each.method, each.route) for each in ENDPOINTS}


def routes(patterns: list[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        path = f"{before}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, path)
        elif isinstance(each, URLPattern):
            yield path, each.callback


@every_endpoint
def test_a_valid_request_gets_json_and_a_correlation_id(call: Call) -> None:
    answer = call(x_correlation_id="mine-1")
    assert answer.status_code == call.endpoint.status, answer.content
    assert (answer["Content-Type"], answer["x-correlation-id"]) == ("application/json", "mine-1")


@every_endpoint
def test_answers_and_problems_are_what_the_document_says(call: Call) -> None:
    document = json.loads(encode_json(openapi()))
    path = re.sub(r"<\w+:(\w+)>", lambda found: f"{{{to_camel(found[1])}}}", f"/{PREFIX}{call.endpoint.route}")
    told = document["paths"][path][call.endpoint.method.lower()]["responses"]
    for answer in (call(), call(query="colour=red"), call(accept="text/html")):
        promised = told[str(answer.status_code)]
        schema = promised["content"][answer["Content-Type"]]["schema"]
        judge = jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})
        judge.validate(answer.json())
        needed = {"ETag", "Location", "Retry-After"} & set(promised["headers"])
        assert needed <= set(answer.headers)


@every_endpoint
@pytest.mark.parametrize("accept", ["", "*/*", "application/json", None])
def test_who_accepts_anything_gets_json(call: Call, accept: str | None) -> None:
    assert call(accept=accept).status_code == call.endpoint.status


@every_endpoint
def test_who_cannot_read_json_gets_nothing(call: Call) -> None:
    problem(call(accept="text/html"), 406)


@every_endpoint
@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic YTpi"])
def test_without_a_token_there_is_nothing(call: Call, token: str | None) -> None:
    answer = call(Authorization=token)
    if call.endpoint.public:
        assert answer.status_code == call.endpoint.status
        return
    problem(answer, 401)
    assert answer["WWW-Authenticate"] == "Bearer"


@every_endpoint
def test_a_channel_is_kept_from_what_is_staffs(endpoint: Endpoint, channel: Caller) -> None:
    answer = Call(endpoint, channel)()
    assert answer.status_code == (403 if endpoint.staff_only else endpoint.status)
    if endpoint.staff_only:
        problem(answer, 403)


@every_endpoint
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_another_method_is_refused_and_told_which_are_not(call: Call, method: str) -> None:
    if (method, call.endpoint.route) in {(each.method, each.route) for each in ENDPOINTS}:
        pytest.skip("it has a row of its own")
    answer = call(method=method)
    problem(answer, 405)
    assert call.endpoint.method in answer["Allow"].split(", ")
    assert method not in answer["Allow"]


@every_endpoint
def test_a_parameter_that_is_unknown_or_repeated_is_pointed_at(call: Call) -> None:
    for query, code in (("colour=red", "extra_forbidden"), ("colour=red&colour=blue", "repeated")):
        answer = call(query=query)
        problem(answer, 400)
        assert (kind(answer), pointers(answer)) == ("invalid", {"/colour": code})


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [(each, name, value) for each in ENDPOINTS for name, value in each.wrong_query.items()],
    ids=str,
)
def test_a_wrong_parameter_is_pointed_at(call: Call, name: str, value: str) -> None:
    answer = call(query=f"{name}={value}".replace("\0", "%00"))
    problem(answer, 400)
    assert (kind(answer), list(pointers(answer))) == ("invalid", [f"/{name}"])


@pytest.mark.parametrize(("endpoint", "name"), [(each, name) for each in ENDPOINTS for name in each.moments], ids=str)
def test_a_moment_may_have_nanoseconds(call: Call, name: str) -> None:
    # 404: the order or the product was not there yet.
    assert call(query=f"{name}={NANOSECONDS}").status_code in (200, 404)
    assert call(query=f"{name}={NANOSECONDS[:-1]}").status_code == 400


@every_endpoint
def test_an_order_or_shipment_is_found_in_either_case_and_nothing_else_is(call: Call) -> None:
    for step in call.path.split("/"):
        if len(step) == 36:
            answer = call(path=call.path.replace(step, step.upper()))
            assert answer.status_code == call.endpoint.status
            assert str(UUID(step)).encode() in answer.content
            assert step.upper() == step or step.upper().encode() not in answer.content
            for other in ("none", step[:-1], f"{step}0", step.replace("-", "")):
                problem(call(path=call.path.replace(step, other)), 404)
            problem(call(path=call.path.replace(step, "01a2177f-1233-733e-b54c-5aa1a5303314")), 404)


@every_endpoint
def test_what_cannot_be_an_id_is_not_found(call: Call) -> None:
    if "<text:" in call.endpoint.route:
        known = "c-1" if "analytics" in call.path else "cup"
        for other in ("a%00b", "a%0Ab", "x" * 65):
            problem(call(path=call.path.replace(known, other)), 404)


@every_write
@pytest.mark.parametrize(
    "body", [b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 10_000, b'{"a": "\xff"}', b'{"a": 1e999}', b" "]
)
def test_what_is_not_json_is_said_to_be_so(call: Call, body: bytes) -> None:
    answer = call(body=body)
    problem(answer, 400)
    assert kind(answer) == "not-json"


@every_write
@pytest.mark.parametrize("body", [b"[]", b'"x"', b"null", b"7"])
def test_json_that_is_not_an_object_is_invalid(call: Call, body: bytes) -> None:
    answer = call(body=body)
    problem(answer, 422)
    assert (kind(answer), pointers(answer)) == ("invalid", {"": "model_type"})


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [(each, name, value) for each in WRITES for name, value in (*each.wrong_body.items(), ("colour", "red"))],
    ids=str,
)
def test_a_wrong_field_is_pointed_at_and_nothing_happens(call: Call, name: str, value: Any) -> None:
    answer = call(body=call.endpoint.body | {name: value}, idempotency_key="k")
    problem(answer, 422)
    assert (kind(answer), list(pointers(answer))) == ("invalid", [f"/{name}"])
    assert call(idempotency_key="k").status_code == call.endpoint.status


@every_write
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Encoding": "gzip"},
    ],
)
def test_only_plain_json_in_utf_8_is_read(call: Call, headers: dict[str, str]) -> None:
    answer = call(**headers)
    problem(answer, 415)
    if "Content-Type" in headers:
        assert answer["Accept"] == "application/json"


@every_write
def test_a_body_beyond_a_megabyte_is_too_large(call: Call) -> None:
    problem(call(body=b'{"a": "' + b"x" * 1_000_000 + b'"}'), 413)


@every_write
def test_a_chunked_body_is_a_body_like_any_other(call: Call) -> None:
    body, method = encode_json(call.endpoint.body), call.endpoint.method
    answer = call.caller.send_chunked(call.path, body, method=method, **call.endpoint.headers)
    assert answer.status_code == call.endpoint.status, answer.content


@every_write
def test_a_body_may_be_missing_only_where_it_is_optional(call: Call) -> None:
    answer = call(body=None, Content_Type="")
    if call.endpoint.body_optional:
        assert answer.status_code == call.endpoint.status
    else:
        problem(answer, 415)


@every_write
@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "ümlaut"])
def test_what_cannot_be_an_idempotency_key_is_a_bad_request(call: Call, key: str) -> None:
    answer = call(idempotency_key=key)
    problem(answer, 400)
    assert kind(answer) == "idempotency-key-invalid"


@every_write
def test_a_repeat_gets_the_first_answer_again(call: Call) -> None:
    first, again = call(idempotency_key="k"), call(idempotency_key="k")
    assert first.status_code == call.endpoint.status
    assert (again.status_code, again.content, again["Content-Type"]) == (
        *(first.status_code, first.content, first["Content-Type"]),
    )
    assert again["Idempotent-Replayed"] == "true"
    assert again.get("Location") == first.get("Location")
    assert "Idempotent-Replayed" not in first


OTHER = {
    "description": "others",
    "since": "2026-02-02T00:00:00Z",
    "customerId": "c-2",
    "reason": "another",
    "quantity": 6,
    "trackingNumber": "FP-2",
}


@every_write
def test_a_key_is_used_up_by_what_was_asked_first(call: Call) -> None:
    assert call(idempotency_key="k").status_code == call.endpoint.status
    changes = [{name: value} for name, value in OTHER.items() if name in call.endpoint.body]
    if call.endpoint.body == HOOK:
        changes = [{"filters": {}}]
    elsewhere = CANCEL if call.endpoint is not CANCEL else POSTS[0]
    others = [call(body=call.endpoint.body | change, idempotency_key="k") for change in changes[:1]]
    assert others or not call.endpoint.body
    for other in (*others, Call(elsewhere, call.caller)(idempotency_key="k")):
        problem(other, 422)
        assert kind(other) == "idempotency-key-reused"


@every_write
def test_a_key_in_flight_is_a_conflict_worth_a_retry(call: Call) -> None:
    with in_flight("k", call.caller.user):
        answer = call(idempotency_key="k")
        problem(answer, 409)
        assert (kind(answer), answer["Retry-After"]) == ("idempotency-key-in-flight", "1")
    assert call(idempotency_key="k").status_code == call.endpoint.status


@contextmanager
def in_flight(key: str, user: User) -> Iterator[None]:
    """Elsewhere, a request with this key of this user is being served."""
    elsewhere = connection.copy()
    try:
        with elsewhere.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, %s))", [key, user.pk])
            yield
            # Closing alone would free it a moment later.
            cursor.execute("SELECT pg_advisory_unlock_all()")
    finally:
        elsewhere.close()


def rejected(call: Call) -> Any:
    services.reject_order(order_id=UUID(call.path.split("/")[4]), reason="insufficient_stock")
    return call()


def set_aside(call: Call) -> Any:
    deliver(order_created(("cup", 5)), to=reserve_stock)
    return call(If_Match='"2"')


def gone_another_way(call: Call) -> Any:
    call(body=DISPATCH | {"carrier": "Slow Parcel"})
    return call()


@pytest.mark.parametrize(
    ("endpoint", "act", "status", "named"),
    [
        (CANCEL, rejected, 409, "order-not-cancellable"),
        (COUNTS, set_aside, 409, "below-reserved"),
        (COUNTS, lambda call: call(If_Match='"9"'), 412, "stock-moved"),
        (COUNTS, lambda call: call(If_Match=None), 428, "if-match-missing"),
        (DISPATCHES, gone_another_way, 409, "shipment-not-dispatchable"),
    ],
)
def test_a_conflict_is_named_by_its_type(call: Call, act: Callable[[Call], Any], status: int, named: str) -> None:
    answer = act(call)
    problem(answer, status)
    assert kind(answer) == named
