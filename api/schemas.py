"""What other programs need to know of events: their schemas, where messages say (`dataschema`), and AsyncAPI."""

from functools import cache
from hashlib import sha256

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from api.query import refuse_query
from eventbus import encode_json, published_schema
from eventbus.documents import asyncapi

#: Seconds for which nobody need ask again: what a published schema says never changes.
FRESH = 86_400


class SchemaView(APIView):
    """Open to everybody: who has the message from the broker need not have a token of the API."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request, event_type: str, version: str) -> HttpResponseBase:
        """The JSON Schema of an event, as it is on the wire."""
        refuse_query(request)
        schema = published_schema(event_type, version)
        if schema is None:
            raise Http404
        return answer(request, schema, fresh=FRESH)


class AsyncAPIView(APIView):
    """Open to everybody as well."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> HttpResponseBase:
        """Which events there are, where, and in which form."""
        refuse_query(request)
        return answer(request, _document(), fresh=0)


@cache
def _document() -> bytes:
    return encode_json(asyncapi())


def answer(request: Request, document: bytes, *, fresh: int) -> HttpResponseBase:
    """JSON with an ETag, or 304 to those who have it; `fresh`: seconds for which nobody need ask again."""
    etag = f'"{sha256(document).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": f"public, max-age={fresh}"}
    whole = HttpResponse(document, content_type="application/json", headers=headers)
    return get_conditional_response(request._request, etag=etag, response=whole) or whole
