"""Orders and their lines."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Upper

from eventbus import new_id
from orders.events import AdjustmentKind


class Status(models.TextChoices):
    CREATED = "CREATED"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    SHIPPED = "SHIPPED"


#: Where an order may go from where it is. What is not here is final.
MOVES: dict[Status, set[Status]] = {
    Status.CREATED: {Status.CONFIRMED, Status.REJECTED, Status.CANCELLED},
    Status.CONFIRMED: {Status.SHIPPED, Status.CANCELLED},
}
#: Where an order need not go any more: it is there or has been, or was cancelled before the answer came.
SETTLED: dict[Status, set[Status]] = {
    Status.CONFIRMED: {Status.CONFIRMED, Status.SHIPPED, Status.CANCELLED},
    Status.REJECTED: {Status.REJECTED, Status.CANCELLED},
    Status.SHIPPED: {Status.SHIPPED},
    Status.CANCELLED: {Status.CANCELLED},
}


class Order(models.Model):
    """An order that a sales channel placed. Inserted by `orders.intake`; moved by `orders.services` alone."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # The index `order_of_channel` begins with it.
    channel = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False)
    status = models.TextField(choices=Status.choices, default=Status.CREATED)
    customer_id = models.TextField()
    customer_email = models.TextField()
    shipping_address = models.JSONField()
    total_amount = models.DecimalField(max_digits=16, decimal_places=4)
    currency = models.CharField(max_length=3)
    correlation_id = models.TextField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    cancel_reason = models.TextField(blank=True, default="", db_default="")
    timed_out_at = models.DateTimeField(null=True, help_text="When it was given up because nothing answered it.")

    class Meta:
        ordering = ["-id"]
        permissions = [("cancel_order", "Can cancel an order")]
        # Lists are read by id, newest first: within a channel, of a customer, in a status.
        indexes = [
            models.Index(fields=["channel", "id"], name="order_of_channel"),
            models.Index(fields=["customer_id", "id"], name="order_of_customer"),
            models.Index(fields=["status", "id"], name="order_in_status"),
            models.Index(Upper("customer_email"), name="order_by_email"),
            models.Index(fields=["id"], condition=Q(timed_out_at__isnull=False), name="order_timed_out"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="order_status_known"),
            models.CheckConstraint(condition=Q(total_amount__gte=0), name="order_total_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.id} ({self.status})"


class OrderAdjustment(models.Model):
    """What an order's total has in it beside its lines: shipping, tax, a discount, a rounding, a fee."""

    # The unique constraint below is the index for it.
    order = models.ForeignKey(Order, models.CASCADE, related_name="adjustments", db_index=False)
    line = models.PositiveSmallIntegerField()
    kind = models.TextField(choices=[(kind.value, kind.value) for kind in AdjustmentKind])
    label = models.TextField()
    amount = models.DecimalField(max_digits=16, decimal_places=4)

    class Meta:
        ordering = ["order", "line"]
        constraints = [
            models.UniqueConstraint(fields=["order", "line"], name="order_adjustment_once"),
            models.CheckConstraint(
                condition=Q(kind="rounding")
                | Q(kind="discount", amount__lte=0)
                | Q(kind__in=["shipping", "tax", "fee"], amount__gte=0),
                name="order_adjustment_has_its_sign",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label}: {self.amount}"


class OrderItem(models.Model):
    """A line of an order; `line` counts from 1 in the order in which the channel sent them."""

    # The unique constraint below is the index for it.
    order = models.ForeignKey(Order, models.CASCADE, related_name="items", db_index=False)
    line = models.PositiveSmallIntegerField()
    product_id = models.TextField()
    product_name = models.TextField()
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=16, decimal_places=4)

    class Meta:
        ordering = ["order", "line"]
        constraints = [
            models.UniqueConstraint(fields=["order", "line"], name="order_line_once"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="order_line_of_something"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="order_line_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_name}"
