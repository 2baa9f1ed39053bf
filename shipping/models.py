"""The parcels. Orders are another app's: known here by their ids, and by what their events carried."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class State(models.TextChoices):
    WAITING = "WAITING", "waiting for the rest"
    PREPARED = "PREPARED", "ready to go"
    DISPATCHED = "DISPATCHED", "dispatched"
    CALLED_OFF = "CALLED_OFF", "called off"


class Shipment(models.Model):
    """An order's parcel. What goes in comes from inventory's event and where it goes from the order's, in any order.

    One that is called off stays, without its address: it stands in the way of events that come later.
    """

    order_id = models.UUIDField(primary_key=True)
    state = models.TextField(choices=State.choices)
    address = models.JSONField(null=True, help_text="From order.created.")
    items = models.JSONField(null=True, help_text="From inventory.reserved: productId and quantity.")
    carrier = models.TextField(blank=True, default="", db_default="")
    tracking_number = models.TextField(blank=True, default="", db_default="")
    estimated_delivery = models.DateField(null=True)
    dispatched_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-order_id"]
        permissions = [("dispatch_shipment", "Can dispatch a shipment")]
        indexes = [
            models.Index(fields=["state", "order_id"], name="shipment_in_state"),
            models.Index(fields=["tracking_number"], condition=~Q(tracking_number=""), name="shipment_by_tracking"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state__in=["PREPARED", "DISPATCHED"]) | Q(address__isnull=False, items__isnull=False),
                name="shipment_is_whole",
            ),
            models.CheckConstraint(
                condition=~Q(state="DISPATCHED")
                | (~Q(carrier="") & ~Q(tracking_number="") & Q(estimated_delivery__isnull=False)),
                name="shipment_says_how",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order_id} ({self.state})"
