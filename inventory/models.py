"""The rows of inventory. Products and orders are other apps' or nobody's: known here by their ids alone."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Stock(models.Model):
    """How much there is of a product. The database holds what must always be true of it."""

    # "C": the order in which products are locked and listed must not change with the database's locale.
    product_id = models.TextField(primary_key=True, db_collation="C")
    product_name = models.TextField()
    available = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    shipped = models.BigIntegerField(default=0)
    received = models.BigIntegerField(default=0)
    low_threshold = models.PositiveIntegerField(
        default=10, help_text="inventory.stock.low is announced when the available quantity falls below this."
    )

    class Meta:
        ordering = ["product_id"]
        verbose_name_plural = "stock"
        permissions = [("receive_stock", "Can receive stock"), ("count_stock", "Can count stock")]
        constraints = [
            models.CheckConstraint(condition=Q(available__gte=0), name="stock_available_not_negative"),
            models.CheckConstraint(condition=Q(reserved__gte=0), name="stock_reserved_not_negative"),
            models.CheckConstraint(condition=Q(shipped__gte=0), name="stock_shipped_not_negative"),
            models.CheckConstraint(
                condition=Q(received=F("available") + F("reserved") + F("shipped")), name="stock_adds_up"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_name} ({self.product_id})"


class ReservationState(models.TextChoices):
    RESERVED = "RESERVED"
    REFUSED = "REFUSED"
    RELEASED = "RELEASED", "released after a cancellation"
    CANCELLED = "CANCELLED", "cancelled before it was decided on"
    SHIPPED = "SHIPPED"


class Reservation(models.Model):
    """What was decided on a product of an order. Refusals are kept too: an order that comes again, be it years later,
    must not be decided again. CANCELLED stands in for an order whose cancellation came before it."""

    order_id = models.UUIDField()
    product_id = models.TextField(db_collation="C")
    quantity = models.BigIntegerField()
    state = models.TextField(choices=ReservationState.choices)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["product_id"], name="reservation_of_product")]
        constraints = [
            models.UniqueConstraint(fields=["order_id", "product_id"], name="reservation_once"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="reservation_of_something"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_id} for {self.order_id}: {self.state}"


class StockSnapshot(models.Model):
    """What a product's events add up to, up to a place in its stream. Never the truth, only quicker than adding."""

    product_id = models.TextField(db_collation="C")
    sequence = models.IntegerField(help_text="The last event that is counted in.")
    as_of = models.DateTimeField(help_text="When the latest of the events that are counted in occurred.")
    available = models.BigIntegerField()
    reserved = models.BigIntegerField()
    shipped = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["product_id", "as_of", "sequence"], name="snapshot_as_of")]
        constraints = [models.UniqueConstraint(fields=["product_id", "sequence"], name="snapshot_once")]

    def __str__(self) -> str:
        return f"{self.product_id} #{self.sequence}"
