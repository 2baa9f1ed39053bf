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
from api.operations import Operation, Refusal, operation
from api.problems import Problem, invalid, wrong
from api.query import refuse_query
from shipping import answers, queries, services

Text = Annotated[Line, Field(max_length=100)]


class Dispatch(BaseModel):
    """How a parcel travels. Of a moment only the day counts."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"carrier": "Fast Parcel", "trackingNumber": "FP-4711", "estimatedDelivery": "2026-12-02"}]
        },
    )

    carrier: Text
    tracking_number: Text
    estimated_delivery: Annotated[date, BeforeValidator(to_day_of)]


class DispatchView(APIView):
    permission_classes = (IsAdminUser,)

    @operation(
        Operation(
            id="dispatchShipment",
            tag="Shipments",
            body=Dispatch,
            answers=answers.ShipmentAnswer,
            keyed=True,
            refuses=(
                Refusal(
                    409, "shipment-not-dispatchable", "It is not ready, was cancelled, or has gone another way already."
                ),
            ),
        )
    )
    def post(self, request: Request, order_id: UUID) -> HttpResponse:
        """Dispatch a parcel: it leaves the house, and its order can't be cancelled any more."""
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
