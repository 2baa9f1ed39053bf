from django.apps import AppConfig
from django.urls import register_converter


class ApiConfig(AppConfig):
    """What every app's endpoints share. The apps' addresses use the converters that are registered here."""

    name = "api"
    verbose_name = "API"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from api import converters

        register_converter(converters.UUIDConverter, "id")
        register_converter(converters.TextConverter, "text")
