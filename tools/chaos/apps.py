from django.apps import AppConfig
from django.conf import settings


class ChaosConfig(AppConfig):
    """The consumer that counts, and the deliberate breakages."""

    name = "tools.chaos"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tools.chaos import breakages

        if settings.CHAOS_CONFIRM_TIMEOUT:
            breakages.shorten_confirm_timeout(settings.CHAOS_CONFIRM_TIMEOUT)
        if settings.CHAOS_BREAKAGE:
            breakages.apply(settings.CHAOS_BREAKAGE)
