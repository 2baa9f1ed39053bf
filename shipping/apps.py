from django.apps import AppConfig


class ShippingConfig(AppConfig):
    """Gets parcels ready and sends them off."""

    name = "shipping"
    default_auto_field = "django.db.models.BigAutoField"
