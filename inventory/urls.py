"""Addresses of the stock API, below /api/v1/."""

from django.urls import path

from inventory import api

urlpatterns = [
    path("stock", api.StockList.as_view(), name="stock-list"),
    path("stock/<text:product_id>/receipts", api.Receipts.as_view(), name="stock-receipts"),
    path("stock/<text:product_id>/counts", api.Counts.as_view(), name="stock-counts"),
    path("stock/<text:product_id>", api.StockDetail.as_view(), name="stock-detail"),
]
