"""Stock over REST: channels read it, staff receive and count goods."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self, TypeVar

from django.http import Http404, HttpResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from rest_framework import exceptions
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from eventbus import StreamConflict, acting_as
from eventbus.api_tools import PointInTime, Refusal, asked, by_field, check_key
from inventory import past, queries, services
from inventory.events import PRINTABLE, Counted, Quantity, Reason
from inventory.idempotency import once
from inventory.models import Stock

M = TypeVar("M", bound=BaseModel)

# As many digits as a stream's number has at most. A proxy that compresses answers makes ETags weak.
_ETAG = re.compile(r'(?:W/)?"(\d{1,10})"', re.ASCII)


class Receipt(BaseModel):
    """Goods that came in. The name is needed for a new product and renames a known one."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)

    quantity: Quantity
    product_name: Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)] | None = None


class Count(BaseModel):
    """What lies on the shelf, set aside or not, and why someone counted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    counted: Counted
    reason: Reason


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
        query = asked(PageQuery, request)
        page = queries.stock_page(**query.model_dump())
        return Response(
            {
                "results": [as_json(stock) for stock in page.rows],
                "next": self._link("after", page.next_after, query.limit),
                "previous": self._link("before", page.previous_before, query.limit),
            }
        )

    def _link(self, name: str, product_id: str | None, limit: int) -> str | None:
        if product_id is None:
            return None
        url = replace_query_param(self.request.build_absolute_uri(self.request.path), "limit", limit)
        return str(replace_query_param(url, name, product_id))


class StockDetail(APIView):
    """The stock of one product, as it is or as it was. Its ETag is what a count has to match."""

    def get(self, request: Request, product_id: str) -> Response:
        moment = asked(PointInTime, request).as_of
        if moment is not None:
            return Response(past_as_json(product_id, moment))
        found = queries.stock_now(product_id)
        if found is None:
            raise Http404
        stock, sequence = found
        return Response(as_json(stock), headers={"ETag": f'"{sequence}"'})


class StaffAction(APIView):
    """What staff do to a product's stock; with an Idempotency-Key once, however often it is asked."""

    permission_classes = (IsAdminUser,)

    def answer(self, request: Request, told: Sequence[Any], act: Callable[[], Stock]) -> HttpResponse:
        """Act in the caller's name; `told` is all that tells this request from another one."""
        key = check_key(request.headers.get("Idempotency-Key"))

        def acted() -> dict[str, Any]:
            return as_json(queries.public(act()))

        user: Any = request.user
        user_id = int(user.pk)
        with acting_as(user_id):
            if key is None:
                return Response(acted(), status=HTTPStatus.CREATED)
            text, replayed = once(user_id=user_id, key=key, request=[request.path, *told], act=acted)
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return HttpResponse(text, status=HTTPStatus.CREATED, content_type="application/json", headers=headers)


class Receipts(StaffAction):
    """Goods that come in."""

    def post(self, request: Request, product_id: str) -> HttpResponse:
        receipt = validated(Receipt, request.data)

        def receive() -> Stock:
            return services.receive_stock(product_id=product_id, **receipt.model_dump())

        try:
            return self.answer(request, [receipt.model_dump()], receive)
        except services.NamelessProduct as error:
            raise exceptions.ValidationError({"productName": [str(error)]}, code="missing") from None


class Counts(StaffAction):
    """What someone found on the shelf, if nothing has happened to the product since they read it."""

    def post(self, request: Request, product_id: str) -> HttpResponse:
        count = validated(Count, request.data)
        expected = expected_sequence(request.headers.get("If-Match"))

        def correct() -> Stock:
            return services.correct_stock(product_id=product_id, expected=expected, **count.model_dump())

        try:
            return self.answer(request, [count.model_dump(), expected], correct)
        except services.UnknownProduct:
            raise Http404 from None
        except services.BelowReserved as error:
            raise Refusal(409, str(error), kind="below-reserved") from None
        except StreamConflict as error:
            raise Refusal(412, str(error), kind="stock-moved") from None


def expected_sequence(if_match: str | None) -> int:
    """The number that an If-Match header names. Raises a Refusal: 428 without one, 400 for what is no ETag of stock."""
    if if_match is None:
        raise Refusal(428, "Send the ETag of the stock that was counted as If-Match.", kind="if-match-missing")
    named = _ETAG.fullmatch(if_match)
    if named is None:
        raise Refusal(400, 'If-Match is the ETag of the stock, such as "17".', kind="if-match-invalid")
    return int(named[1])


def validated(model: type[M], data: object) -> M:
    """The body as this model. Raises a ValidationError of DRF's that points to everything wrong with it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise exceptions.ValidationError(by_field(error)) from None


def past_as_json(product_id: str, moment: datetime) -> dict[str, Any]:
    """A product's stock at a moment. Raises Http404, or a Refusal where its history doesn't reach so far back."""
    try:
        found = past.stock_as_of(product_id, moment)
    except past.HistoryBegins as error:
        raise Refusal(409, str(error), kind="history-begins") from None
    except past.HistoryBroken as error:
        raise Refusal(409, str(error), kind="history-broken") from None
    if found is None:
        raise Http404
    stock = {"product_id": product_id, "product_name": found.product_name, **asdict(found.stock)}
    return as_json(stock) | {"asOf": moment}


def as_json(stock: Mapping[str, Any]) -> dict[str, Any]:
    """A product's stock as the API shows it."""
    return {to_camel(name): value for name, value in stock.items()}
