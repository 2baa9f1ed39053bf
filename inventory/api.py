"""Stock over REST: channels read it, staff receive goods."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from django.http import Http404
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from rest_framework import exceptions
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from eventbus.api_tools import by_field
from eventbus.context import Cause, acting, current_cause
from inventory import queries, services
from inventory.events import PRINTABLE, Quantity


class Receipt(BaseModel):
    """Goods that came in. The name is needed for a new product and renames a known one."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)

    quantity: Quantity
    product_name: Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)] | None = None


class PageQuery(BaseModel):
    """Which part of the list. Queries are text, so numbers may be too."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    after: Annotated[str, Field(max_length=64, pattern=PRINTABLE)] | None = None
    before: Annotated[str, Field(max_length=64, pattern=PRINTABLE)] | None = None

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.after is not None and self.before is not None:
            raise ValueError("give after or before, not both")
        return self


class StockList(APIView):
    """The stock of every product, by product id."""

    def get(self, request: Request) -> Response:
        try:
            asked = PageQuery.model_validate(request.query_params.dict())
        except ValidationError as error:
            raise exceptions.ParseError(in_words(error)) from None
        page = queries.stock_page(**asked.model_dump())
        return Response(
            {
                "results": [as_json(stock) for stock in page.rows],
                "next": self._link("after", page.next_after, asked.limit),
                "previous": self._link("before", page.previous_before, asked.limit),
            }
        )

    def _link(self, name: str, product_id: str | None, limit: int) -> str | None:
        if product_id is None:
            return None
        url = replace_query_param(self.request.build_absolute_uri(self.request.path), "limit", limit)
        return str(replace_query_param(url, name, product_id))


class StockDetail(APIView):
    """The stock of one product."""

    def get(self, request: Request, product_id: str) -> Response:
        stock = queries.stock_of(product_id)
        if stock is None:
            raise Http404
        return Response(as_json(stock))


class Receipts(APIView):
    """Goods that come in, from staff alone."""

    permission_classes = (IsAdminUser,)

    def post(self, request: Request, product_id: str) -> Response:
        try:
            receipt = Receipt.model_validate(request.data)
        except ValidationError as error:
            raise exceptions.ValidationError(by_field(error)) from None
        with acting(Cause(current_cause().correlation_id, user_id=str(request.user.pk))):
            try:
                stock = services.receive_stock(product_id=product_id, **receipt.model_dump())
            except services.NamelessProduct as error:
                raise exceptions.ValidationError({"productName": [str(error)]}, code="missing") from None
        return Response(as_json(queries.public(stock)), status=201)


def as_json(stock: Mapping[str, Any]) -> dict[str, Any]:
    """A product's stock as the API shows it."""
    return {to_camel(name): value for name, value in stock.items()}


def in_words(error: ValidationError) -> str:
    """What is wrong with a query, in a sentence or more."""
    return " ".join(f"{'.'.join(map(str, each['loc'])) or 'query'}: {each['msg']}." for each in error.errors())
