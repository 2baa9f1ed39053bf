"""Shipments over REST, for staff."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from django.http import Http404, HttpResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.views import APIView

from api import idempotency
from api.body import read_body
from api.fields import Line, to_day_of
from api.problems import Problem, invalid, wrong
from api.query import refuse_query
from shipping import queries, services

Text = Annotated[Line, Field(max_length=100)]


class Dispatch(BaseModel):
    """How a parcel travels. Of a moment only the day counts."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)

    carrier: Text
    tracking_number: Text
    estimated_delivery: Annotated[date, BeforeValidator(to_day_of)]


class DispatchView(APIView):
    """The parcel leaves the house, say staff."""

    permission_classes = (IsAdminUser,)

    def post(self, request: Request, order_id: UUID) -> HttpResponse:
        refuse_query(request)
        how = read_body(Dispatch, request)

        def dispatch() -> dict[str, Any]:
            try:
                shipment = services.dispatch(order_id=order_id, **how.model_dump())
            except services.NoShipment:
                raise Http404 from None
            except services.ImplausibleDelivery as error:
                raise invalid("body", [wrong("/estimatedDelivery", "implausible", str(error))]) from None
            except services.CannotDispatch as error:
                raise Problem(409, str(error), kind="shipment-not-dispatchable") from None
            return queries.as_data(shipment)

        return idempotency.answer_once(request, how.model_dump(), dispatch)
