from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Writes to customers and sends what it wrote, at most once."""

    name = "notifications"
    default_auto_field = "django.db.models.BigAutoField"
