"""The API as an OpenAPI 3.1 document, made of the addresses, the views and what each operation says of itself."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema
from rest_framework.permissions import IsAdminUser

from api.operations import Operation, Refusal, declared
from api.problems import MAX_ERRORS, PROBLEM_JSON
from eventbus.documents import PlainJsonSchema

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/{model}"
METHODS = ("get", "post", "put", "patch", "delete")
#: A parameter in an address: its converter and its name.
_PARAMETER = re.compile(r"<(\w+):(\w+)>")
CONVERTED: Mapping[str, Json] = {
    "id": {"type": "string", "format": "uuid"},
    "text": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"},
    "str": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
}
INTRODUCTION = """\
Sales channels place orders and read them, their events and the stock; staff receive goods, count, dispatch and read
analytics.

Every request carries a token, `Authorization: Bearer TOKEN`, unless it says otherwise. Whatever is not a success is a
problem (RFC 9457): `type` names it where the status does not say all. Amounts are JSON numbers, exact to the digit.
Lists are read page by page: follow `next` for as long as there is one. Events have a document of their own,
`/asyncapi.json`."""
TAGS = {
    "Orders": "What sales channels place. A channel sees its own, staff see everyone's.",
    "Events": "What happened, as it was published.",
    "Stock": "How much there is of each product.",
    "Webhooks": "Signed POSTs that tell partners what happens. Each account sees its own.",
    "Shipments": "Parcels, for staff.",
    "Analytics": "Read models over all channels, for staff.",
    "Documents": "What programs read of this service. Open to everybody.",
}
#: When each status comes, whatever the endpoint; its own problems are told beside it.
WHEN: Mapping[int, str] = {
    400: "The request cannot be read, or its query is not valid: `errors` points to each place.",
    401: "There is no token, or it is unknown or has expired.",
    403: "The token does not allow this: it is for staff.",
    404: "There is no such thing, or it is not yours.",
    406: "The answer is JSON, and `Accept` does not allow it.",
    408: "The body was not there in time. Try again, with the same key.",
    409: "Things stand against it.",
    412: "It has changed since it was read.",
    413: "The body is too large.",
    415: "Send application/json in UTF-8, uncompressed.",
    422: "The body is not valid: `errors` points to each place. Nothing was stored.",
    428: "A header that makes it safe is missing.",
    429: "Too many requests, or too many wrong tokens. Try again after `Retry-After` seconds.",
    503: "The database does not answer, or too much waits. Try again after `Retry-After` seconds, with the same key.",
}
OF_A_BODY = (Refusal(400, "not-json", "The body is not JSON, or has a name twice, or is nested too deep."),)
OF_A_KEY = (
    Refusal(400, "idempotency-key-invalid", "An Idempotency-Key has 1 to 255 printable ASCII characters."),
    Refusal(409, "idempotency-key-in-flight", "A request with this key is in flight. Ask again in a second."),
    Refusal(422, "idempotency-key-reused", "This key was used for another request."),
)
#: What is invalid, and a place in it.
INVALID = {
    400: (Refusal(400, "invalid", "`errors` says what is wrong with the query, and where."), "/limit"),
    422: (Refusal(422, "invalid", "`errors` says what is wrong with the body, and where."), "/items/0/quantity"),
}

HEADERS: Mapping[str, Json] = {
    "x-correlation-id": {
        "description": "The request's, if it sent one, else a fresh one. In every event that this caused.",
        "schema": {"type": "string", "maxLength": 128},
        "example": "01a21ac1-5cae-7051-9d05-b6f4f8fc4197",
    },
    "RateLimit-Policy": {
        "description": "The quota, and the seconds in which it comes back. Missing for callers without a limit.",
        "schema": {"type": "string"},
        "example": '"channel";q=2000;w=2',
    },
    "RateLimit": {
        "description": "What is left of the quota, and in how many seconds all of it is back.",
        "schema": {"type": "string"},
        "example": '"channel";r=1950;t=1',
    },
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "WWW-Authenticate": {"description": "How to say who you are.", "schema": {"type": "string"}, "example": "Bearer"},
    "Idempotent-Replayed": {
        "description": "`true` on the answer to a repeat: nothing was done again.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
    "ETag": {"description": "Names this state.", "schema": {"type": "string"}, "example": '"17"'},
    "Location": {
        "description": "Where what was made is.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/api/v1/orders/01a21ab8-8af7-7235-b185-814cfa29344d",
    },
}
OF_A_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
TAKEN: Mapping[str, Json] = {
    "Idempotency-Key": {
        "description": "Makes a repeat safe: within 24 hours it gets the first answer again. A UUID is good.",
        # No example: whoever sends the same for two requests is refused.
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    },
    "If-Match": {"schema": {"type": "string", "pattern": '^(W/)?"[0-9]{1,10}"$'}, "example": '"17"'},
    "If-None-Match": {"schema": {"type": "string"}, "example": '"3c59dc048e8850243be8079a5c74d079"'},
}
PROBLEM: Json = {
    "type": "object",
    "description": "Whatever is not a success (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "Names the problem; about:blank where the status says all."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "For people; may change."},
        "correlationId": {"type": "string", "description": "Tell us this one when you ask."},
        "errors": {
            "type": "array",
            "maxItems": MAX_ERRORS,
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer into body or query."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "code", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "correlationId"],
}


class Endpoint:
    """A method of a view at an address."""

    def __init__(self, route: str, method: str, view: Any) -> None:
        self.route, self.method, self.view = route, method, view
        self.handler: Callable[..., object] = getattr(view, method)
        self.told: Operation = declared(self.handler)
        self.is_public = not view.authentication_classes
        self.is_staffs = IsAdminUser in view.permission_classes

    @property
    def path(self) -> str:
        return "/" + _PARAMETER.sub(lambda found: f"{{{to_camel(found[2])}}}", self.route)


def endpoints(patterns: Sequence[URLPattern | URLResolver] | None = None, before: str = "") -> Iterator[Endpoint]:
    """Every method of every view of the API, wherever its address is."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        route = f"{before}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from endpoints(each.url_patterns, route)
        elif view := getattr(each.callback, "cls", None):
            yield from (Endpoint(route, method, view) for method in METHODS if hasattr(view, method))


def openapi() -> Json:
    """The document. Raises LookupError where a view says nothing of itself."""
    found = list(endpoints())
    schemas = _schemas(found)
    # Their fields are parameters.
    queries = {each.told.query.__name__ for each in found}
    paths: dict[str, Json] = {}
    for each in found:
        path = paths.setdefault(each.path, {})
        if parameters := [_in_path(*found) for found in _PARAMETER.findall(each.route)]:
            path["parameters"] = parameters
        path[each.method] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Order pipeline",
            "version": settings.EVENTBUS_CODE_VERSION,
            "description": INTRODUCTION,
            "contact": {"name": "Whoever runs this service"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "Where this document comes from."}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A channel's, or of staff."}
            },
            "headers": dict(HEADERS),
            "schemas": {"Problem": PROBLEM} | {name: each for name, each in schemas.items() if name not in queries},
        },
    }


def _schemas(found: Sequence[Endpoint]) -> Json:
    told = [each.told for each in found]
    models = {model: None for each in told for model in (each.query, each.body, each.answers) if model is not None}
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=SCHEMAS, schema_generator=PlainJsonSchema
    )
    schemas: Json = definitions["$defs"]
    return schemas


def _operation(endpoint: Endpoint, schemas: Json) -> Json:
    told = endpoint.told
    summary, _, more = (endpoint.handler.__doc__ or "").strip().partition("\n")
    operation: Json = {
        "operationId": told.id,
        "tags": [told.tag],
        "summary": summary.rstrip("."),
        "description": _description(endpoint, summary, more),
        "parameters": [*_in_query(told.query, schemas), *_in_headers(told)],
        "responses": {str(told.status): _success(endpoint, schemas), **_not_modified(told), **_problems(endpoint)},
    }
    if endpoint.is_public:
        operation["security"] = []
    if told.body is not None:
        content: Json = {"schema": {"$ref": SCHEMAS.format(model=told.body.__name__)}}
        operation["requestBody"] = {
            "required": not told.body_optional,
            "content": {"application/json": content | _examples(told.body, schemas)},
        }
    return operation


def _description(endpoint: Endpoint, summary: str, more: str) -> str:
    whom = "Open to everybody." if endpoint.is_public else "For staff." if endpoint.is_staffs else ""
    text = " ".join(f"{summary} {more}".split())
    return f"{text} {whom}".strip()


def _in_path(converter: str, name: str) -> Json:
    return {"name": to_camel(name), "in": "path", "required": True, "schema": CONVERTED[converter]}


def _in_query(query: type[BaseModel], schemas: Json) -> list[Json]:
    schema = schemas[query.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            **({"description": told.pop("description")} if "description" in told else {}),
            "schema": told,
        }
        for name, known in schema.get("properties", {}).items()
        for told in [_not_null(known)]
    ]


def _not_null(schema: Json) -> Json:
    """A parameter that may be left out can't be null."""
    rest = {word: each for word, each in schema.items() if word != "anyOf"}
    if rest.get("default", ...) is None:
        del rest["default"]
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, **({"anyOf": kinds} if kinds else {})}


def _in_headers(told: Operation) -> list[Json]:
    named = {**({"Idempotency-Key": ""} if told.keyed else {}), **({"If-None-Match": ""} if told.cached else {})}
    return [
        {"name": name, "in": "header", "required": bool(meaning)}
        | ({"description": meaning} if meaning else {})
        | TAKEN[name]
        for name, meaning in (named | dict(told.takes)).items()
    ]


def _headers(endpoint: Endpoint, *more: str) -> Json:
    limits = () if endpoint.is_public else ("RateLimit-Policy", "RateLimit")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-correlation-id", *limits, *more)}


def _success(endpoint: Endpoint, schemas: Json) -> Json:
    told = endpoint.told
    if told.answers is None:
        content: Json = {"schema": {"type": "object"}}
    else:
        content = {"schema": {"$ref": SCHEMAS.format(model=told.answers.__name__)}} | _examples(told.answers, schemas)
    also = [*told.sends, *(["Idempotent-Replayed"] if told.keyed else []), *(["ETag"] if told.cached else [])]
    return {
        "description": "Done." if told.status == HTTPStatus.OK else "Done, and stored.",
        "headers": _headers(endpoint, *also),
        "content": {"application/json": content},
    }


def _not_modified(told: Operation) -> Json:
    headers = {"ETag": {"$ref": "#/components/headers/ETag"}}
    return {"304": {"description": "You have it already.", "headers": headers}} if told.cached else {}


def _examples(model: type[BaseModel], schemas: Json) -> Json:
    found = schemas[model.__name__].get("examples", ())
    return {"examples": {f"example{place}": {"value": each} for place, each in enumerate(found, 1)}} if found else {}


def _problems(endpoint: Endpoint) -> Json:
    told = endpoint.told
    refusals = [*told.refuses, *(OF_A_KEY if told.keyed else ()), *(OF_A_BODY if told.body else ())]
    statuses = {400, 406, *(each.status for each in refusals)}
    statuses |= set() if endpoint.is_public else {401, 429, 503}
    statuses |= {403} if endpoint.is_staffs else set()
    statuses |= {404} if "<" in endpoint.route else set()
    statuses |= {408, 413, 415, 422} if told.body else set()
    return {str(status): _problem(endpoint, status, refusals) for status in sorted(statuses)}


def _problem(endpoint: Endpoint, status: int, refusals: Sequence[Refusal]) -> Json:
    kinds = [each for each in refusals if each.status == status]
    kinds += [INVALID[status][0]] if status in INVALID else []
    listed = "".join(f"\n- `{each.kind}`: {each.when}" for each in kinds)
    return {
        "description": f"{WHEN[status]}{listed and chr(10)}{listed}",
        "headers": _headers(endpoint, *OF_A_STATUS.get(status, ())),
        "content": {
            PROBLEM_JSON: {
                "schema": {"$ref": SCHEMAS.format(model="Problem")},
                "examples": {
                    each.kind or "problem": {"value": _example(each)}
                    for each in kinds or [Refusal(status, "", WHEN[status])]
                },
            }
        },
    }


def _example(refusal: Refusal) -> Json:
    told: Json = {
        "type": f"urn:problem-type:order-pipeline:{refusal.kind}" if refusal.kind else "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.when,
        "correlationId": HEADERS["x-correlation-id"]["example"],
    }
    if refusal.kind == "invalid":
        place = INVALID[refusal.status][1]
        told["errors"] = [{"pointer": place, "code": "greater_than_equal", "detail": "Input should be at least 1"}]
    return told
