from django.apps import AppConfig
from django.core.checks import register

from webhooks.checks import settings_can_be_read


class WebhooksConfig(AppConfig):
    """Partners' subscriptions, and signed deliveries to them."""

    name = "webhooks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(settings_can_be_read)
