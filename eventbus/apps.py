from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class EventbusConfig(AppConfig):
    """The bus. Finds every contract and consumer, so that nothing else has to list them."""

    name = "eventbus"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from eventbus import alarm_rules, checks, discovery, failpoints  # noqa: F401  they register rules and checks
        from eventbus.dead_letters import checks as checks_of_keys  # noqa: F401
        from eventbus.rebuild import checks as checks_of_projections  # noqa: F401

        if failpoints.ACTIVE and not settings.FAILPOINTS_ALLOWED:
            raise ImproperlyConfigured("Unset FAILPOINT: this process would kill itself there. Only tests use it.")
        discovery.autodiscover()
