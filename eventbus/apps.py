from django.apps import AppConfig


class EventbusConfig(AppConfig):
    """The bus. Finds every contract and consumer, so that nothing else has to list them."""

    name = "eventbus"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from eventbus import checks, discovery  # noqa: F401  the import registers the checks

        discovery.autodiscover()
