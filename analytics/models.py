"""The read models. Each is what one consumer makes of its events and nothing else, so that it can be built again.

Events come in any order and any grouping, and must give the same rows to the byte: every event adds to columns of its
own, keys are natural, and no row says when it was written.
"""

from typing import Any

from django.db import models

#: What can happen to an order, in the order in which it does. What comes later prevails.
KINDS = ("created", "confirmed", "rejected", "cancelled", "shipped")


class ExactAmount(models.DecimalField):  # type: ignore[type-arg]
    """An amount of money with the decimals that it came with: a column of fixed decimals would add its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 30, "decimal_places": 4, "default": 0, **options})

    def db_type(self, connection: Any) -> str:
        return "numeric"


class SalesByDay(models.Model):
    """What happened to orders on a day of the shop, in one currency. One order may count on several days.

    Amounts are what the goods brought, less the discounts; charges are shipping, fees and roundings.
    """

    # One column, because Django's admin can't show a composite key.
    id = models.TextField(primary_key=True, db_collation="C", help_text="day/currency")
    day = models.DateField()
    currency = models.TextField(db_collation="C")
    created_orders = models.BigIntegerField(default=0)
    created_amount = ExactAmount()
    created_tax = ExactAmount(db_default=0)
    created_charges = ExactAmount(db_default=0)
    confirmed_orders = models.BigIntegerField(default=0)
    confirmed_amount = ExactAmount()
    confirmed_tax = ExactAmount(db_default=0)
    confirmed_charges = ExactAmount(db_default=0)
    rejected_orders = models.BigIntegerField(default=0)
    rejected_amount = ExactAmount()
    rejected_tax = ExactAmount(db_default=0)
    rejected_charges = ExactAmount(db_default=0)
    cancelled_orders = models.BigIntegerField(default=0)
    cancelled_amount = ExactAmount()
    cancelled_tax = ExactAmount(db_default=0)
    cancelled_charges = ExactAmount(db_default=0)
    shipped_orders = models.BigIntegerField(default=0)
    shipped_amount = ExactAmount()
    shipped_tax = ExactAmount(db_default=0)
    shipped_charges = ExactAmount(db_default=0)

    class Meta:
        ordering = ["-day", "currency"]
        verbose_name_plural = "sales by day"
        indexes = [models.Index(fields=["day", "currency"], name="sales_by_day")]

    def __str__(self) -> str:
        return self.id


class SalesByProduct(models.Model):
    """What happened to a product's sales on a day of the shop, in one currency."""

    id = models.TextField(primary_key=True, db_collation="C", help_text="day/currency/product")
    day = models.DateField()
    currency = models.TextField(db_collation="C")
    product_id = models.TextField(db_collation="C")
    product_name = models.TextField(db_collation="C", help_text="As the latest order of that day called it.")
    named_at = models.DateTimeField()
    created_quantity = models.BigIntegerField(default=0)
    created_amount = ExactAmount()
    confirmed_quantity = models.BigIntegerField(default=0)
    confirmed_amount = ExactAmount()
    rejected_quantity = models.BigIntegerField(default=0)
    rejected_amount = ExactAmount()
    cancelled_quantity = models.BigIntegerField(default=0)
    cancelled_amount = ExactAmount()
    shipped_quantity = models.BigIntegerField(default=0)
    shipped_amount = ExactAmount()

    class Meta:
        ordering = ["-day", "currency", "product_id"]
        verbose_name_plural = "sales by product"
        indexes = [models.Index(fields=["day", "currency"], name="sales_by_product_on_day")]

    def __str__(self) -> str:
        return self.id


class CustomerOrder(models.Model):
    """An order in its customer's history."""

    order_id = models.UUIDField(primary_key=True)
    customer_id = models.TextField(db_collation="C")
    status = models.TextField(help_text="CREATED, CONFIRMED, REJECTED, CANCELLED or SHIPPED.")
    status_at = models.DateTimeField()
    created_at = models.DateTimeField(null=True, help_text="Empty until the order's first event has come.")
    pieces = models.BigIntegerField()
    total_amount = ExactAmount()
    currency = models.TextField()

    class Meta:
        ordering = ["-order_id"]
        verbose_name = "customer's order"
        indexes = [models.Index(fields=["customer_id", "-order_id"], name="history_of_customer")]

    def __str__(self) -> str:
        return f"{self.order_id} ({self.status})"


class Fulfilment(models.Model):
    """When an order reached each stage on its way to the customer."""

    order_id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    shipped_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-order_id"]
        verbose_name_plural = "fulfilment times"
        indexes = [models.Index(fields=["created_at"], name="fulfilment_created_at")]

    def __str__(self) -> str:
        return str(self.order_id)
