"""The read models over REST, for staff: they cover all channels."""

from datetime import timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, model_validator
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from analytics import answers, queries
from analytics.days import today
from analytics.queries import Range
from api.fields import Day
from api.operations import Operation, operation
from api.pagination import page
from api.query import Query, read_query

DEFAULT_DAYS = 30
MOST_DAYS = 800


class Days(Query):
    """Which days, both included: by default the last 30."""

    first: Annotated[Day | None, Field(alias="from")] = None
    last: Annotated[Day | None, Field(alias="to")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        days = self.range()
        if not 0 <= (days.last - days.first).days < MOST_DAYS:
            raise ValueError(f"from is not after to, and at most {MOST_DAYS} days before it")
        return self

    def range(self) -> Range:
        last = self.last or today()
        return Range(self.first or last - timedelta(days=DEFAULT_DAYS - 1), last)


class Sales(Days):
    """Of one currency, or of all."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None


class ProductSales(Sales):
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class HistoryPage(Query):
    """Which part of a customer's history: the orders before this one."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: UUID | None = None


class StaffView(APIView):
    permission_classes = (IsAdminUser,)


class SalesByDayView(StaffView):
    @operation(Operation(id="listSalesByDay", tag="Analytics", query=Sales, answers=answers.SalesByDayAnswer))
    def get(self, request: Request) -> Response:
        """List what happened to orders, day by day."""
        query = read_query(Sales, request)
        return Response({"results": queries.sales_by_day(query.range(), query.currency)})


class SalesByProductView(StaffView):
    @operation(
        Operation(id="listSalesByProduct", tag="Analytics", query=ProductSales, answers=answers.SalesByProductAnswer)
    )
    def get(self, request: Request) -> Response:
        """List what was sold most."""
        query = read_query(ProductSales, request)
        return Response({"results": queries.top_products(query.range(), query.currency, limit=query.limit)})


class CustomerOrdersView(StaffView):
    @operation(
        Operation(id="listCustomerOrders", tag="Analytics", query=HistoryPage, answers=answers.CustomerOrderList)
    )
    def get(self, request: Request, customer_id: str) -> Response:
        """List a customer's orders, newest first."""
        query = read_query(HistoryPage, request)
        found = queries.orders_of_customer(customer_id, limit=query.limit + 1, before=query.before)
        results, more = found[: query.limit], len(found) > query.limit
        return page(request, results, next={"before": results[-1]["orderId"]} if more else None)


class FulfilmentView(StaffView):
    @operation(Operation(id="readFulfilment", tag="Analytics", query=Days, answers=answers.FulfilmentAnswer))
    def get(self, request: Request) -> Response:
        """Read how long the orders of these days took, in seconds."""
        days = read_query(Days, request).range()
        return Response({"from": days.first, "to": days.last, **queries.fulfilment(days)})
