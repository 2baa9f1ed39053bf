"""The REST API of orders. Errors are problems: see `orders.http`."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventbus import acting_as
from eventbus.api_tools import Moment, PointInTime, check_key
from eventbus.archive import events_of
from orders import intake, queries, services
from orders.auth import ChannelAuthentication
from orders.http import Problem, invalid, read_json, validated, wrong
from orders.models import Order, Status


class OrderFilter(BaseModel):
    """The query of a list. `createdFrom` is inside, `createdTo` is not."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    status: Status | None = None
    customer_id: intake.Identifier | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[queries.Cursor | None, BeforeValidator(queries.Cursor.parse)] = None


class Cancellation(BaseModel):
    """What a cancel may say."""

    model_config = ConfigDict(extra="forbid")

    reason: intake.Line = "requested"


class ChannelView(APIView):
    """What a sales channel sees: its own. Staff see everyone's."""

    authentication_classes = [ChannelAuthentication]

    def channel_id(self) -> int:
        user: Any = self.request.user
        return int(user.pk)

    def orders(self) -> QuerySet[Order]:
        """Those that the caller may see."""
        user: Any = self.request.user
        return queries.orders_of(None if user.is_staff else user.pk)

    def order(self, order_id: UUID) -> Order:
        """Raises Http404 for one that isn't there and for another channel's alike."""
        try:
            return self.orders().get(pk=order_id)
        except Order.DoesNotExist:
            raise Http404 from None


class OrdersView(ChannelView):
    def post(self, request: Request) -> HttpResponse:
        """Take an order in."""
        key = check_key(request.headers.get("Idempotency-Key"))
        order = intake.parse_order(read_json(request))
        placed = intake.place_order(order, channel_id=self.channel_id(), key=key)
        headers = {"Location": request.build_absolute_uri(f"{request.path}/{placed.order_id}")}
        if placed.replayed:
            headers["Idempotent-Replayed"] = "true"
        # No Response: there is nothing left to render.
        return HttpResponse(placed.answer, status=HTTPStatus.CREATED, content_type="application/json", headers=headers)

    def get(self, request: Request) -> Response:
        """List orders, newest first."""
        wanted = validated(OrderFilter, _query(request), status=HTTPStatus.BAD_REQUEST)
        page = queries.page_of(self.orders(), **dict(wanted))
        links = {"next": _link(request, page.next), "previous": _link(request, page.previous)}
        return Response({"results": page.results, **links})


class OrderView(ChannelView):
    def get(self, request: Request, order_id: UUID) -> Response:
        """One order, as it is or as it was."""
        asked = validated(PointInTime, _query(request), status=HTTPStatus.BAD_REQUEST)
        order = self.order(order_id)
        if asked.as_of is None:
            return Response(queries.as_data(order))
        try:
            found = queries.as_of(order, asked.as_of)
        except queries.HistoryGone as error:
            raise Problem(409, str(error), kind="history-gone") from None
        if found is None:
            raise Http404
        return Response(found)


class OrderEventsView(ChannelView):
    def get(self, request: Request, order_id: UUID) -> Response:
        """All that happened to one order, as events."""
        return Response({"results": events_of(self.order(order_id).pk), "next": None, "previous": None})


class OrderCancelView(ChannelView):
    def post(self, request: Request, order_id: UUID) -> Response:
        """Call an order off. However often it is asked, the order is cancelled once: a key needs no memory here."""
        check_key(request.headers.get("Idempotency-Key"))
        order = self.order(order_id)
        wish = validated(Cancellation, read_json(request)) if _has_body(request) else Cancellation()
        with acting_as(request.user.pk):
            try:
                services.cancel_order(order_id=order.pk, reason=wish.reason)
            except services.CannotMove as error:
                raise Problem(409, str(error), kind="order-not-cancellable") from None
        return Response(queries.as_data(self.order(order_id)))


def _has_body(request: Request) -> bool:
    # A chunked body says nothing about its length.
    return "HTTP_TRANSFER_ENCODING" in request.META or request.META.get("CONTENT_LENGTH", "") not in ("", "0")


def _query(request: HttpRequest | Request) -> dict[str, str]:
    repeated = [name for name, values in request.GET.lists() if len(values) > 1]
    if repeated:
        errors = [wrong(f"/{name[:64]}", "repeated", "Give it once.") for name in repeated]
        raise invalid(errors, status=HTTPStatus.BAD_REQUEST)
    return request.GET.dict()


def _link(request: Request, cursor: queries.Cursor | None) -> str | None:
    if cursor is None:
        return None
    query = urlencode({**request.GET.dict(), "cursor": str(cursor)})
    return request.build_absolute_uri(f"{request.path}?{query}")
