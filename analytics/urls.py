"""The addresses of the analytics API, below /api/v1/."""

from django.urls import path

from analytics import api

urlpatterns = [
    path("analytics/sales/daily", api.SalesByDayView.as_view(), name="analytics-daily"),
    path("analytics/sales/products", api.SalesByProductView.as_view(), name="analytics-products"),
    path("analytics/customers/<text:customer_id>/orders", api.CustomerOrdersView.as_view(), name="analytics-customer"),
    path("analytics/fulfilment", api.FulfilmentView.as_view(), name="analytics-fulfilment"),
]
