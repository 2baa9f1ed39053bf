"""What other programs may rely on, for people to read: the REST API and the events. Open to everybody, as are the
documents themselves."""

import json
from functools import cache
from itertools import groupby
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from api.openapi import openapi
from console.pages import framed, show
from eventbus import decode_json, encode_json
from eventbus.documents import asyncapi, catalogue, fields_of, page_of

METHODS = {"get": "info", "post": "good"}


def public(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page that needs no log-in: staff see it in the console's frame."""
    user = getattr(request, "user", None)
    frame = "base" if user is not None and user.is_authenticated and user.is_staff else "open"
    return framed(show(request, template, frame=f"console/{frame}.html", **context))


@require_safe
def rest(request: HttpRequest) -> HttpResponse:
    """The REST API, as its OpenAPI document has it."""
    return public(request, "rest", **_rest())


@require_safe
def events(request: HttpRequest) -> HttpResponse:
    """All events, and how to receive them: the AsyncAPI document as a page."""
    return public(request, "catalogue", **_events())


@require_safe
def event(request: HttpRequest, event_type: str) -> HttpResponse:
    """An event: what it means, holds and has held, who publishes it and who receives it."""
    found = page_of(event_type, request.GET.get("version", ""))
    if found is None:
        raise Http404
    example = json.dumps(found.example, indent=2, ensure_ascii=False) if found.example is not None else ""
    return public(request, "event", page=found, told=found.told, example=example)


@cache
def _events() -> dict[str, Any]:
    """What the page shows. Declarations change only with the code."""
    found, document = catalogue(), asyncapi()
    return {
        "published": [each for each in found if not each.internal],
        "internal": [each for each in found if each.internal],
        "exchange": next(iter(document["channels"].values()))["bindings"]["amqp"]["exchange"]["name"],
        "headers": document["components"]["schemas"]["Headers"]["required"],
    }


@cache
def _rest() -> dict[str, Any]:
    """What the page shows. The document changes only with the code."""
    # As any other reader has it.
    document = decode_json(encode_json(openapi()))
    told = [
        _operation(document, path, method, each, methods.get("parameters", []))
        for path, methods in document["paths"].items()
        for method, each in methods.items()
        if method != "parameters"
    ]
    by_tag = {tag["name"]: tag["description"] for tag in document["tags"]}
    told.sort(key=lambda each: list(by_tag).index(each["tag"]))
    groups = [
        {"name": tag, "description": by_tag[tag], "operations": list(found)}
        for tag, found in groupby(told, key=lambda each: each["tag"])
    ]
    return {"groups": groups, "introduction": document["info"]["description"].split("\n\n"), "document": document}


def _operation(document: Any, path: str, method: str, told: Any, shared: Any) -> dict[str, Any]:
    status, success = next((status, each) for status, each in told["responses"].items() if status.startswith("2"))
    problems = [
        {"status": status, "when": each["description"].partition("\n")[0], "kinds": _kinds(each)}
        for status, each in told["responses"].items()
        if status >= "4"
    ]
    named = [{**each, "holds": _holds(document, each)} for each in [*shared, *told["parameters"]]]
    return {
        "id": told["operationId"],
        "tag": told["tags"][0],
        "method": method.upper(),
        "tone": METHODS.get(method, "warn"),
        "path": path,
        "summary": told["summary"],
        "description": told["description"],
        "parameters": named,
        "body": _content(document, told["requestBody"]) if "requestBody" in told else None,
        "status": status,
        "answer": _content(document, success),
        "headers": [
            {"name": name, "description": document["components"]["headers"][name]["description"]}
            for name in success["headers"]
        ],
        "problems": problems,
    }


def _holds(document: Any, parameter: Any) -> str:
    [found] = fields_of({"properties": {parameter["name"]: parameter["schema"]}}, document)
    return found.holds


def _content(document: Any, holder: Any) -> dict[str, Any]:
    [content] = holder["content"].values()
    example = next((each["value"] for each in content.get("examples", {}).values()), None)
    return {
        "fields": list(fields_of(content["schema"], document)),
        "required": holder.get("required", True),
        "example": "" if example is None else json.dumps(example, indent=2, ensure_ascii=False, default=float),
    }


def _kinds(response: Any) -> list[dict[str, str]]:
    [content] = response["content"].values()
    named = {name: each for name, each in content["examples"].items() if name != "problem"}
    return [{"name": name, "when": each["value"]["detail"]} for name, each in named.items()]
