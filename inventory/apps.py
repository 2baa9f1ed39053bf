from django.apps import AppConfig


class InventoryConfig(AppConfig):
    """Keeps the stock and sets it aside for orders."""

    name = "inventory"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from eventbus.archive import before_pruning
        from inventory import snapshots

        # What is left of a product's stream begins with its stock at the end of what goes.
        before_pruning(lambda end, _first_id: snapshots.snapshot_all(end))
