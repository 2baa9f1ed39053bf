from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Partners' subscriptions, and signed deliveries to them."""

    name = "webhooks"
    default_auto_field = "django.db.models.BigAutoField"
