from django.apps import AppConfig


class EventbusConfig(AppConfig):
    """The bus. Finds every contract and consumer, so that nothing else has to list them."""

    name = "eventbus"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from eventbus import checks, discovery, failpoints  # noqa: F401  the first registers itself
        from eventbus.broker.address import addresses, read_address
        from eventbus.db import clock, discretion, pooler
        from eventbus.monitoring import bus_invariants, bus_rules  # noqa: F401  both register themselves

        # In every process at once: what is written wrongly must not be found at the first connection.
        for variable, url in addresses().items():
            read_address(url, variable)
        pooler.watch()
        clock.watch()
        discretion.keep()
        failpoints.refuse_where_not_allowed()
        discovery.autodiscover()
