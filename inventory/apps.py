from django.apps import AppConfig


class InventoryConfig(AppConfig):
    """Keeps the stock and sets it aside for orders."""

    name = "inventory"
    default_auto_field = "django.db.models.BigAutoField"
