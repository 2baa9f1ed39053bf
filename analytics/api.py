"""The read models over REST, for staff: they tell of all channels."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from rest_framework import exceptions
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from analytics import queries
from analytics.queries import Range
from eventbus.api_tools import in_words

DEFAULT_DAYS = 30
MOST_DAYS = 800


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ValueError("write a day like 2026-02-01") from None


Day = Annotated[date, BeforeValidator(_day)]
M = TypeVar("M", bound=BaseModel)


class Days(BaseModel):
    """Which days, both included: by default the last 30."""

    model_config = ConfigDict(extra="forbid")

    first: Annotated[Day | None, Field(alias="from")] = None
    last: Annotated[Day | None, Field(alias="to")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        asked = self.range()
        if not 0 <= (asked.last - asked.first).days < MOST_DAYS:
            raise ValueError(f"from is not after to, and at most {MOST_DAYS} days before it")
        return self

    def range(self) -> Range:
        last = self.last or datetime.now(UTC).date()
        return Range(self.first or last - timedelta(days=DEFAULT_DAYS - 1), last)


class Sales(Days):
    """Of one currency, or of all."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None


class ProductSales(Sales):
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class HistoryPage(BaseModel):
    """Which part of a customer's history: the orders before this one."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: UUID | None = None


class StaffView(APIView):
    permission_classes = (IsAdminUser,)

    def asked(self, model: type[M]) -> M:
        """The query, checked. Raises ParseError."""
        try:
            return model.model_validate(self.request.query_params.dict())
        except ValidationError as error:
            raise exceptions.ParseError(in_words(error)) from None


class SalesByDayView(StaffView):
    def get(self, request: Request) -> Response:
        """What happened to orders, day by day."""
        asked = self.asked(Sales)
        return Response({"results": queries.sales_by_day(asked.range(), asked.currency)})


class SalesByProductView(StaffView):
    def get(self, request: Request) -> Response:
        """What was sold most."""
        asked = self.asked(ProductSales)
        return Response({"results": queries.top_products(asked.range(), asked.currency, limit=asked.limit)})


class CustomerOrdersView(StaffView):
    def get(self, request: Request, customer_id: str) -> Response:
        """A customer's orders, newest first."""
        asked = self.asked(HistoryPage)
        found = queries.orders_of_customer(customer_id, limit=asked.limit + 1, before=asked.before)
        page, more = found[: asked.limit], len(found) > asked.limit
        return Response({"results": page, "next": self._link(page[-1]["orderId"]) if more else None})

    def _link(self, order_id: Any) -> str:
        return str(replace_query_param(self.request.build_absolute_uri(), "before", order_id))


class FulfilmentView(StaffView):
    def get(self, request: Request) -> Response:
        """How long the orders of these days took, in seconds."""
        asked = self.asked(Days).range()
        return Response({"from": asked.first, "to": asked.last, **queries.fulfilment(asked)})
