from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Takes orders in and keeps their state."""

    name = "orders"
    default_auto_field = "django.db.models.BigAutoField"
