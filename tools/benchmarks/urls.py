"""The service's addresses, and the baselines' beside them."""

from django.urls import path

from config.urls import *  # noqa: F403
from config.urls import urlpatterns
from tools.benchmarks.baseline_api import OrdersWithDelay, OrdersWithEffects, PlainOrders

urlpatterns = [
    path("plain/orders", PlainOrders.as_view()),
    path("plain/orders-with-delay", OrdersWithDelay.as_view()),
    path("plain/orders-with-effects", OrdersWithEffects.as_view()),
    *urlpatterns,
]
