"""The service's addresses, and the plain views beside them."""

from config.urls import handler404, urlpatterns

__all__ = ["handler404", "urlpatterns"]
