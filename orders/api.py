"""The REST API of orders."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api import idempotency
from api.body import read_body
from api.fields import Line, Moment
from api.operations import Operation, Refusal, operation
from api.pagination import page
from api.problems import Problem, validating
from api.query import PointInTime, Query, read_query, refuse_query
from api.strict_json import read_json
from eventbus import failpoint
from eventbus.archive import events_of
from orders import answers, intake, queries, services
from orders.events import CancelledBy
from orders.models import Order, Status


class OrderFilter(Query):
    """The query of a list. `createdFrom` is inside, `createdTo` is not."""

    status: Status | None = None
    customer_id: intake.Identifier | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[
        queries.Cursor | None,
        BeforeValidator(queries.Cursor.parse),
        WithJsonSchema(
            {"type": "string", "pattern": "^[A-Za-z0-9_-]{23}$", "description": "Take it from `next` or `previous`."}
        ),
    ] = None


class ActionQuery(Query):
    """Which action's events, and which part of them: those after this event."""

    correlation_id: Annotated[Line, Field(max_length=128)]
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: UUID = UUID(int=0)


class Cancellation(BaseModel):
    """What a cancel may say."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "changed their mind"}]})

    reason: intake.Line = "requested"


class Placed(msgspec.Struct, rename="camel"):
    """What the answer to an order is read for again. By msgspec, which is quick at leaving out the rest."""

    order_id: UUID


_placed = msgspec.json.Decoder(Placed)


class ChannelView(APIView):
    """What a sales channel sees: its own. Staff see everyone's."""

    def channel_id(self) -> int | None:
        """Whose orders the caller may see; None: everyone's."""
        user: Any = self.request.user
        return None if user.is_staff else user.pk

    def orders(self) -> QuerySet[Order]:
        """Those that the caller may see."""
        return queries.orders_of(self.channel_id())

    def order(self, order_id: UUID) -> Order:
        """Raises Http404 for one that isn't there and for another channel's alike."""
        try:
            return self.orders().get(pk=order_id)
        except Order.DoesNotExist:
            raise Http404 from None


class OrdersView(ChannelView):
    @operation(
        Operation(
            id="placeOrder",
            tag="Orders",
            status=HTTPStatus.CREATED,
            body=intake.NewOrder,
            answers=answers.OrderAnswer,
            keyed=True,
            sends={"Location": "The order's address."},
            refuses=(Refusal(503, "behind", "Too many orders wait to be passed on."),),
        )
    )
    def post(self, request: Request) -> HttpResponse:
        """Take an order in.

        It is answered before anything else happens to it. Within a moment it is CONFIRMED or REJECTED.
        """
        refuse_query(request)
        with validating("body"):
            order = intake.parse_order(read_json(request))
        keyed = idempotency.read_key(request, order.as_asked())
        if keyed is None:
            answer = place(request, order)
        else:
            answer = idempotency.once(keyed, lambda: place(request, order, keyed))
        failpoint("intake.after_commit")
        path = f"{request.path}/{_placed.decode(answer.body).order_id}"
        return answer.as_response(Location=request.build_absolute_uri(path))

    @operation(Operation(id="listOrders", tag="Orders", query=OrderFilter, answers=answers.OrderList))
    def get(self, request: Request) -> Response:
        """List orders, newest first."""
        wanted = read_query(OrderFilter, request)
        found = queries.page_of(self.orders(), **dict(wanted))
        return page(request, found.results, next=position(found.next), previous=position(found.previous))


def position(cursor: queries.Cursor | None) -> dict[str, object] | None:
    return None if cursor is None else {"cursor": cursor}


def place(request: Request, order: intake.NewOrder, keyed: idempotency.Keyed | None = None) -> idempotency.Answer:
    """Store an order, and its answer for those who ask again. Raises a Problem while too many orders wait."""
    also = idempotency.keeping(keyed, HTTPStatus.CREATED) if keyed else None
    user: Any = request.user
    try:
        stored = intake.place_order(order, channel_id=user.pk, also=also)
    except intake.Behind as error:
        raise Problem(503, str(error), kind="behind", headers={"Retry-After": str(error.seconds)}) from None
    failpoint("intake.before_commit")
    return idempotency.Answer(HTTPStatus.CREATED, stored)


class OrderView(ChannelView):
    @operation(
        Operation(
            id="readOrder",
            tag="Orders",
            query=PointInTime,
            answers=answers.OrderAnswer,
            refuses=(Refusal(409, "history-gone", "The archive no longer has what happened to it by then."),),
        )
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        """Read an order, as it is or as it was."""
        moment = read_query(PointInTime, request).as_of
        order = self.order(order_id)
        if moment is None:
            return Response(queries.as_data(order))
        try:
            found = queries.as_of(order, moment)
        except queries.HistoryGone as error:
            raise Problem(409, str(error), kind="history-gone") from None
        if found is None:
            raise Http404
        return Response(found)


class OrderEventsView(ChannelView):
    @operation(Operation(id="listOrderEvents", tag="Events", answers=answers.EventList))
    def get(self, request: Request, order_id: UUID) -> Response:
        """List all that happened to an order, as events."""
        refuse_query(request)
        return page(request, events_of(self.order(order_id).pk))


class EventsView(ChannelView):
    @operation(Operation(id="listEvents", tag="Events", query=ActionQuery, answers=answers.EventList))
    def get(self, request: Request) -> Response:
        """List what one action caused, over all orders that the caller may see, as events."""
        wanted = read_query(ActionQuery, request)
        found = queries.events_of_action(
            self.channel_id(), wanted.correlation_id, after=wanted.after, limit=wanted.limit + 1
        )
        results, more = found[: wanted.limit], len(found) > wanted.limit
        return page(request, results, next={"after": results[-1]["eventId"]} if more else None)


class OrderCancelView(ChannelView):
    @operation(
        Operation(
            id="cancelOrder",
            tag="Orders",
            body=Cancellation,
            body_optional=True,
            answers=answers.OrderAnswer,
            keyed=True,
            refuses=(Refusal(409, "order-not-cancellable", "It has left the house, or was rejected."),),
        )
    )
    def post(self, request: Request, order_id: UUID) -> HttpResponse:
        """Cancel an order.

        When this answers, it will never be delivered. The body may be left out.
        """
        refuse_query(request)
        wish = read_body(Cancellation, request, optional=True)
        user: Any = request.user
        by = CancelledBy.STAFF if user.is_staff else CancelledBy.CUSTOMER
        # Before the key is looked at: what the caller may not see has no answer.
        self.order(order_id)

        def cancel() -> dict[str, Any]:
            try:
                services.cancel_order(order_id=order_id, reason=wish.reason, by=by)
            except services.CannotMove as error:
                raise Problem(409, str(error), kind="order-not-cancellable") from None
            return queries.as_data(self.order(order_id))

        return idempotency.answer_once(request, wish.model_dump(), cancel)
