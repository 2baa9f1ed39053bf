"""The baselines' views: Django REST Framework as its tutorial shows it, with the authentication of the real API."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from rest_framework import serializers
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.authentication import ChannelAuthentication
from orders.models import Order, OrderItem
from tools.benchmarks import plain_effects, plain_tasks


class ItemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    productId = serializers.CharField(source="product_id", max_length=64)
    productName = serializers.CharField(source="product_name", max_length=200)
    quantity = serializers.IntegerField(min_value=1)
    unitPrice = serializers.DecimalField(source="unit_price", max_digits=16, decimal_places=4, min_value=0)


class AddressSerializer(serializers.Serializer):  # type: ignore[type-arg]
    street = serializers.CharField(max_length=200)
    city = serializers.CharField(max_length=200)
    state = serializers.CharField(max_length=200)
    postalCode = serializers.CharField(max_length=200)
    country = serializers.CharField(min_length=2, max_length=2)


class OrderSerializer(serializers.Serializer):  # type: ignore[type-arg]
    customerId = serializers.CharField(source="customer_id", max_length=64)
    customerEmail = serializers.EmailField(source="customer_email")
    items = ItemSerializer(many=True, allow_empty=False)
    shippingAddress = AddressSerializer(source="shipping_address")
    totalAmount = serializers.DecimalField(source="total_amount", max_digits=16, decimal_places=4, min_value=0)
    currency = serializers.CharField(min_length=3, max_length=3)

    def validate(self, order: dict[str, Any]) -> dict[str, Any]:
        if sum(item["quantity"] * item["unit_price"] for item in order["items"]) != order["total_amount"]:
            raise serializers.ValidationError("The total is not the sum of the items.")
        return order


class PlainOrders(APIView):
    """Order and items in one transaction, and no event."""

    authentication_classes = [ChannelAuthentication]
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]

    def post(self, request: Request) -> Response:
        serializer = OrderSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            order = self.store(request, serializer.validated_data)
        sent: Any = request.data
        answer = {"orderId": order.pk, "status": order.status, **sent, "createdAt": order.created_at}
        return Response(answer, status=201)

    def store(self, request: Request, data: dict[str, Any]) -> Order:
        items, now = data.pop("items"), timezone.now()
        assert isinstance(request.user, User)
        order = Order.objects.create(channel=request.user, created_at=now, updated_at=now, correlation_id="", **data)
        OrderItem.objects.bulk_create(
            OrderItem(order=order, line=line, **item) for line, item in enumerate(items, start=1)
        )
        return order


class OrdersWithDelay(PlainOrders):
    """The same, and a task is sent after the commit. A crash in between leaves the order where it is for ever."""

    def store(self, request: Request, data: dict[str, Any]) -> Order:
        order = super().store(request, data)
        transaction.on_commit(lambda: plain_tasks.reserve.delay(str(order.pk)))
        return order


class OrdersWithEffects(PlainOrders):
    """The same, and a task is sent after the commit for each thing that follows."""

    def store(self, request: Request, data: dict[str, Any]) -> Order:
        order = super().store(request, data)
        sent: Any = request.data
        plain_effects.cause({**sent, "orderId": str(order.pk), "createdAt": order.created_at.isoformat()})
        return order
