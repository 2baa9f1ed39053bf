"""Addresses of the stock API. A product's id may hold anything that prints, slashes included."""

from django.urls import path, register_converter

from inventory import api


class ProductIdConverter:
    """A product's id in a path. What no product can be called is not found, before a database is asked."""

    regex = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,64}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ProductIdConverter, "product_id")

urlpatterns = [
    path("stock", api.StockList.as_view(), name="stock-list"),
    path("stock/<product_id:product_id>/receipts", api.Receipts.as_view(), name="stock-receipts"),
    path("stock/<product_id:product_id>/counts", api.Counts.as_view(), name="stock-counts"),
    path("stock/<product_id:product_id>", api.StockDetail.as_view(), name="stock-detail"),
]
