"""Loyalty points, earned when an order ships.

What has left the house can't be cancelled any more, so nothing is ever taken back, and the points are the same in
whatever order the events arrive.
"""

from collections.abc import Sequence

from django.contrib import admin
from django.db import connection, models

from eventbus import consumer
from eventbus.admin import ReadOnlyAdmin
from orders.events import OrderShipped

# Not by the amount: sums in several currencies don't add up.
POINTS_PER_ORDER = 10
POINTS_PER_PIECE = 1
#: From how many points on a customer belongs to a level; the highest first.
LEVELS = {"gold": 1000, "silver": 250, "bronze": 0}

# Sorted, so that two batches with the same customers cannot deadlock.
EARN = """
INSERT INTO consumers_loyaltyaccount AS known (customer_id, points, orders, last_shipped_at)
SELECT customer_id, sum(points), count(*), max(shipped_at)
FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[]) AS t(customer_id, points, shipped_at)
GROUP BY customer_id ORDER BY customer_id
ON CONFLICT (customer_id) DO UPDATE
    SET points = known.points + EXCLUDED.points, orders = known.orders + EXCLUDED.orders,
        last_shipped_at = greatest(known.last_shipped_at, EXCLUDED.last_shipped_at)
"""


class LoyaltyAccount(models.Model):
    """What a customer has earned so far."""

    customer_id = models.TextField(primary_key=True)
    points = models.BigIntegerField()
    orders = models.IntegerField()
    last_shipped_at = models.DateTimeField()

    class Meta:
        ordering = ["-points", "customer_id"]
        indexes = [models.Index(fields=["-points", "customer_id"], name="loyalty_by_points")]

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.points}"

    @property
    def level(self) -> str:
        """`gold`, `silver` or `bronze`."""
        return next(name for name, points in LEVELS.items() if self.points >= points)


@consumer("loyalty.count_points", on=[OrderShipped], batched=True, start="beginning", tables=[LoyaltyAccount])
def count_points(events: Sequence[OrderShipped]) -> None:
    """Credit the customers of these orders."""
    earned = [(event.customer_id, points_of(event), event.envelope.occurred_at) for event in events]
    with connection.cursor() as cursor:
        cursor.execute(EARN, [list(column) for column in zip(*earned, strict=True)])


def points_of(order: OrderShipped) -> int:
    """What an order is worth."""
    return POINTS_PER_ORDER + POINTS_PER_PIECE * sum(item.quantity for item in order.items)


@admin.register(LoyaltyAccount)
class LoyaltyAccountAdmin(ReadOnlyAdmin):
    """The customers, the best first."""

    list_display = ["customer_id", "level", "points", "orders", "last_shipped_at"]
    search_fields = ["customer_id__exact"]
    search_help_text = "A whole customer id"
