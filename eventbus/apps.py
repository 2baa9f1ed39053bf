from django.apps import AppConfig


class EventbusConfig(AppConfig):
    """The bus. Finds every contract and consumer, so that nothing else has to list them."""

    name = "eventbus"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from eventbus import alarm_rules, checks, discovery, failpoints  # noqa: F401  they register rules and checks
        from eventbus.dead_letters import checks as checks_of_keys  # noqa: F401
        from eventbus.rebuild import checks as checks_of_projections  # noqa: F401

        failpoints.refuse_where_not_allowed()
        discovery.autodiscover()
