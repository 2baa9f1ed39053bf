"""What other programs need to know: the events' schemas, where messages say (`dataschema`), AsyncAPI and OpenAPI."""

from functools import cache
from hashlib import sha256

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from api.openapi import openapi
from api.operations import Operation, operation
from api.query import refuse_query
from eventbus import encode_json, published_schema
from eventbus.documents import asyncapi

#: Seconds for which nobody need ask again: what a published schema says never changes.
FRESH = 86_400


class SchemaView(APIView):
    """Open to everybody: who has the message from the broker need not have a token of the API."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @operation(Operation(id="readSchema", tag="Documents", answers=None, cached=True))
    def get(self, request: Request, event_type: str, version: str) -> HttpResponseBase:
        """Read the JSON Schema of an event, as it is on the wire."""
        refuse_query(request)
        schema = published_schema(event_type, version)
        if schema is None:
            raise Http404
        return answer(request, schema, fresh=FRESH)


class AsyncAPIView(APIView):
    """Open to everybody as well."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @operation(Operation(id="readAsyncAPI", tag="Documents", answers=None, cached=True))
    def get(self, request: Request) -> HttpResponseBase:
        """Read which events there are, where, and in which form: AsyncAPI 3.0."""
        refuse_query(request)
        return answer(request, _of_events(), fresh=0)


class OpenAPIView(APIView):
    """Open to everybody as well."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @operation(Operation(id="readOpenAPI", tag="Documents", answers=None, cached=True))
    def get(self, request: Request) -> HttpResponseBase:
        """Read this document: OpenAPI 3.1."""
        refuse_query(request)
        return answer(request, _of_the_api(), fresh=0)


@cache
def _of_events() -> bytes:
    return encode_json(asyncapi())


@cache
def _of_the_api() -> bytes:
    return encode_json(openapi())


def answer(request: Request, document: bytes, *, fresh: int) -> HttpResponseBase:
    """JSON with an ETag, or 304 to those who have it; `fresh`: seconds for which nobody need ask again."""
    etag = f'"{sha256(document).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": f"public, max-age={fresh}"}
    whole = HttpResponse(document, content_type="application/json", headers=headers)
    return get_conditional_response(request._request, etag=etag, response=whole) or whole
