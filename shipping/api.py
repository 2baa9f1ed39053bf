"""Shipments over REST, for staff."""

from datetime import date
from typing import Annotated
from uuid import UUID

from django.http import Http404
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from rest_framework import exceptions, status
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventbus import acting_as
from eventbus.api_tools import by_field
from shipping import queries, services


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


def _something(text: str) -> str:
    if not text.strip():
        raise ValueError("say which")
    return text


def _day(value: object) -> date:
    """A day, or the day of a moment. A number is not one: pydantic would take it for seconds since 1970."""
    if not isinstance(value, str) or value[10:11] not in ("", "T", "t"):
        raise ValueError("write a day like 2026-02-01")
    return date.fromisoformat(value[:10])


# No line breaks or other control characters: it goes into a mail. And nothing that only looks empty.
Line = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"),
    AfterValidator(_something),
]


class Dispatch(BaseModel):
    """How a parcel travels."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)

    carrier: Line
    tracking_number: Line
    estimated_delivery: Annotated[date, BeforeValidator(_day)]


class DispatchView(APIView):
    """The parcel leaves the house, say staff."""

    permission_classes = (IsAdminUser,)

    def post(self, request: Request, order_id: UUID) -> Response:
        try:
            how = Dispatch.model_validate(request.data)
        except ValidationError as error:
            raise exceptions.ValidationError(by_field(error)) from None
        with acting_as(request.user.pk):
            try:
                shipment = services.dispatch(order_id=order_id, **how.model_dump())
            except services.NoShipment:
                raise Http404 from None
            except services.CannotDispatch as error:
                raise Conflict(str(error)) from None
        return Response(queries.as_data(shipment))
