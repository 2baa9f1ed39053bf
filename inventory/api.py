"""Stock over REST: channels read it, staff receive and count goods."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self

from django.http import Http404, HttpResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api import idempotency
from api.body import read_body
from api.fields import Line
from api.operations import Operation, Refusal, operation
from api.pagination import page
from api.problems import Problem, invalid, wrong
from api.query import PointInTime, Query, read_query, refuse_query
from eventbus import StreamConflict
from inventory import answers, past, queries, services
from inventory.events import PRINTABLE, Counted, Quantity, Reason

# As many digits as a stream's number has at most. A proxy that compresses answers makes ETags weak.
_ETAG = re.compile(r'(?:W/)?"(\d{1,10})"', re.ASCII)


class Receipt(BaseModel):
    """Goods that came in. The name is needed for a new product and renames a known one."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"quantity": 50, "productName": "Desk lamp"}]},
    )

    quantity: Quantity
    product_name: Annotated[Line, Field(max_length=200)] | None = None


class Count(BaseModel):
    """What lies on the shelf, set aside or not, and why someone counted."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"counted": 49, "reason": "one broke"}]}
    )

    counted: Counted
    reason: Reason


class PageQuery(Query):
    """Which part of the list."""

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    after: Annotated[str, Field(max_length=64, pattern=PRINTABLE)] | None = None
    before: Annotated[str, Field(max_length=64, pattern=PRINTABLE)] | None = None

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.after is not None and self.before is not None:
            raise ValueError("give after or before, not both")
        return self


class StockList(APIView):
    @operation(Operation(id="listStock", tag="Stock", query=PageQuery, answers=answers.StockListAnswer))
    def get(self, request: Request) -> Response:
        """List the stock of every product, by product id."""
        found = queries.stock_page(**read_query(PageQuery, request).model_dump())
        after, before = found.next_after, found.previous_before
        return page(
            request,
            [as_json(stock) for stock in found.rows],
            next=None if after is None else {"after": after, "before": None},
            previous=None if before is None else {"before": before, "after": None},
        )


class StockDetail(APIView):
    @operation(
        Operation(
            id="readStock",
            tag="Stock",
            query=PointInTime,
            answers=answers.StockAnswer,
            sends={"ETag": "What a count has to match. Not sent of the past."},
            refuses=(
                Refusal(409, "history-begins", "The product's history does not reach so far back."),
                Refusal(409, "history-broken", "The product's history is not whole."),
            ),
        )
    )
    def get(self, request: Request, product_id: str) -> Response:
        """Read the stock of a product, as it is or as it was. Its ETag is what a count has to match."""
        moment = read_query(PointInTime, request).as_of
        if moment is not None:
            return Response(past_as_json(product_id, moment))
        found = queries.stock_now(product_id)
        if found is None:
            raise Http404
        stock, sequence = found
        return Response(as_json(stock), headers={"ETag": f'"{sequence}"'})


class Receipts(APIView):
    permission_classes = (IsAdminUser,)

    @operation(
        Operation(
            id="receiveStock",
            tag="Stock",
            status=HTTPStatus.CREATED,
            body=Receipt,
            answers=answers.StockAnswer,
            keyed=True,
        )
    )
    def post(self, request: Request, product_id: str) -> HttpResponse:
        """Receive goods."""
        refuse_query(request)
        receipt = read_body(Receipt, request)

        def receive() -> dict[str, Any]:
            try:
                stock = services.receive_stock(product_id=product_id, **receipt.model_dump())
            except services.BlankProduct as error:
                raise invalid("body", [wrong("", "blank_product_id", str(error))]) from None
            except services.NamelessProduct as error:
                raise invalid("body", [wrong("/productName", "missing", str(error))]) from None
            return as_json(queries.public(stock))

        return idempotency.answer_once(request, receipt.model_dump(), receive, status=HTTPStatus.CREATED)


class Counts(APIView):
    permission_classes = (IsAdminUser,)

    @operation(
        Operation(
            id="countStock",
            tag="Stock",
            status=HTTPStatus.CREATED,
            body=Count,
            answers=answers.StockAnswer,
            keyed=True,
            takes={"If-Match": "The ETag of the stock that was counted."},
            refuses=(
                Refusal(400, "if-match-invalid", "If-Match is not an ETag of a stock."),
                Refusal(409, "below-reserved", "More is set aside than was counted."),
                Refusal(412, "stock-moved", "The stock has moved since: read it again and decide anew."),
                Refusal(428, "if-match-missing", "Send the ETag of the stock that was counted as If-Match."),
            ),
        )
    )
    def post(self, request: Request, product_id: str) -> HttpResponse:
        """Correct a stock by what someone counted on the shelf.

        It is refused if anything has happened to the product since they read it.
        """
        refuse_query(request)
        count = read_body(Count, request)
        expected = expected_sequence(request.headers.get("If-Match"))

        def correct() -> dict[str, Any]:
            try:
                stock = services.correct_stock(product_id=product_id, expected=expected, **count.model_dump())
            except services.UnknownProduct:
                raise Http404 from None
            except services.BelowReserved as error:
                raise Problem(409, str(error), kind="below-reserved") from None
            except StreamConflict as error:
                raise Problem(412, str(error), kind="stock-moved") from None
            return as_json(queries.public(stock))

        asked = [count.model_dump(), expected]
        return idempotency.answer_once(request, asked, correct, status=HTTPStatus.CREATED)


def expected_sequence(if_match: str | None) -> int:
    """The number that an If-Match header names. Raises a Problem: 428 without one, 400 for what is not such an ETag."""
    if if_match is None:
        raise Problem(428, "Send the ETag of the stock that was counted as If-Match.", kind="if-match-missing")
    named = _ETAG.fullmatch(if_match)
    if named is None:
        raise Problem(400, 'If-Match is the ETag of the stock, such as "17".', kind="if-match-invalid")
    return int(named[1])


def past_as_json(product_id: str, moment: datetime) -> dict[str, Any]:
    """A product's stock at a moment. Raises Http404, or a Problem where its history doesn't reach so far back."""
    try:
        found = past.stock_as_of(product_id, moment)
    except past.HistoryBegins as error:
        raise Problem(409, str(error), kind="history-begins") from None
    except past.HistoryBroken as error:
        raise Problem(409, str(error), kind="history-broken") from None
    if found is None:
        raise Http404
    stock = {"product_id": product_id, "product_name": found.product_name, **asdict(found.stock)}
    return as_json(stock) | {"asOf": moment}


def as_json(stock: Mapping[str, Any]) -> dict[str, Any]:
    """A product's stock as the API shows it."""
    return {to_camel(name): value for name, value in stock.items()}
