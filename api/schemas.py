"""The published schemas of events, at the address that messages carry as `dataschema`."""

from hashlib import sha256

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from api.query import refuse_query
from eventbus import published_schema

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
        etag = f'"{sha256(schema).hexdigest()[:32]}"'
        answer = HttpResponse(
            schema,
            content_type="application/json",
            headers={"ETag": etag, "Cache-Control": f"public, max-age={FRESH}"},
        )
        return get_conditional_response(request._request, etag=etag, response=answer) or answer
