"""The read models over REST, for staff: they cover all channels."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from analytics import queries
from analytics.queries import Range
from eventbus.api_tools import asked

DEFAULT_DAYS = 30
MOST_DAYS = 800


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ValueError("write a day like 2026-02-01") from None


Day = Annotated[date, BeforeValidator(_day)]


class Days(BaseModel):
    """Which days, both included: by default the last 30."""

    model_config = ConfigDict(extra="forbid")

    first: Annotated[Day | None, Field(alias="from")] = None
    last: Annotated[Day | None, Field(alias="to")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        days = self.range()
        if not 0 <= (days.last - days.first).days < MOST_DAYS:
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


class SalesByDayView(StaffView):
    def get(self, request: Request) -> Response:
        """What happened to orders, day by day."""
        query = asked(Sales, request)
        return Response({"results": queries.sales_by_day(query.range(), query.currency)})


class SalesByProductView(StaffView):
    def get(self, request: Request) -> Response:
        """What was sold most."""
        query = asked(ProductSales, request)
        return Response({"results": queries.top_products(query.range(), query.currency, limit=query.limit)})


class CustomerOrdersView(StaffView):
    def get(self, request: Request, customer_id: str) -> Response:
        """A customer's orders, newest first."""
        query = asked(HistoryPage, request)
        found = queries.orders_of_customer(customer_id, limit=query.limit + 1, before=query.before)
        page, more = found[: query.limit], len(found) > query.limit
        return Response({"results": page, "next": self._link(page[-1]["orderId"]) if more else None})

    def _link(self, order_id: Any) -> str:
        return str(replace_query_param(self.request.build_absolute_uri(), "before", order_id))


class FulfilmentView(StaffView):
    def get(self, request: Request) -> Response:
        """How long the orders of these days took, in seconds."""
        days = asked(Days, request).range()
        return Response({"from": days.first, "to": days.last, **queries.fulfilment(days)})
