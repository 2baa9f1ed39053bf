"""The baseline's address: the same as the product's."""

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.authentication import ChannelAuthentication
from api.problems import validating
from api.strict_json import read_json
from orders.intake import parse_order
from orders.models import Order, OrderItem
from tools.chaos.plain import tasks


class OrdersView(APIView):
    """Save, and send a task when that is committed. Knows no Idempotency-Key."""

    authentication_classes = [ChannelAuthentication]

    def post(self, request: Request) -> Response:
        assert isinstance(request.user, User)
        with validating("body"):
            wanted, now = parse_order(read_json(request)), timezone.now()
        with transaction.atomic():
            order = Order.objects.create(
                channel=request.user,
                customer_id=wanted.customer_id,
                customer_email=wanted.customer_email,
                shipping_address=wanted.shipping_address.model_dump(by_alias=True),
                total_amount=wanted.total_amount,
                currency=wanted.currency,
                correlation_id="",
                created_at=now,
                updated_at=now,
            )
            OrderItem.objects.bulk_create(
                OrderItem(order=order, line=line, **item.model_dump()) for line, item in enumerate(wanted.items, 1)
            )
            transaction.on_commit(lambda: tasks.reserve.delay(str(order.pk)))
        return Response({"orderId": str(order.pk), "status": order.status}, status=201)


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ready")


urlpatterns = [path("api/v1/orders", OrdersView.as_view()), path("health/ready", ready)]
