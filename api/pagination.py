"""Lists that are read page by page: how an answer looks, and how its links are made."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from django.utils.encoding import escape_uri_path
from rest_framework.request import Request
from rest_framework.response import Response

#: The query parameters that lead to a page; None takes one out that led to this page.
Position = Mapping[str, object]


def page(
    request: Request, results: Sequence[Any], *, next: Position | None = None, previous: Position | None = None
) -> Response:
    """A part of a list, and where the parts beside it are, if there are any."""
    return Response({"results": results, "next": _link(request, next), "previous": _link(request, previous)})


def _link(request: Request, position: Position | None) -> str | None:
    """This page's address with another position: all else that was asked for stays."""
    if position is None:
        return None
    asked = {**request.GET.dict(), **position}
    query = urlencode({name: str(value) for name, value in asked.items() if value is not None})
    return request.build_absolute_uri(f"{escape_uri_path(request.path)}?{query}")
