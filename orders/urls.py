"""The addresses of the orders API, below /api/v1/."""

from django.urls import path

from orders import api

urlpatterns = [
    path("orders", api.OrdersView.as_view(), name="orders"),
    path("orders/<id:order_id>", api.OrderView.as_view(), name="order"),
    path("orders/<id:order_id>/cancel", api.OrderCancelView.as_view(), name="order-cancel"),
    path("orders/<id:order_id>/events", api.OrderEventsView.as_view(), name="order-events"),
    path("events", api.EventsView.as_view(), name="events"),
]
