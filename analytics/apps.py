from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    """Read models of the orders' events: what was sold, to whom, and how fast it went out."""

    name = "analytics"
    default_auto_field = "django.db.models.BigAutoField"
