"""Histories that have to begin anew, because stock was changed and no event told of it."""

from django.db import transaction

from eventbus import publish, single_statement
from inventory.events import StockOpened
from inventory.invariants import unlike_their_history
from inventory.models import Stock, StockSnapshot


def open_histories() -> list[str]:
    """Say of every product whose history does not add up to its stock what that stock is now; returns their ids.

    Its history begins there, and what was told before is no longer answered with. Stock rows are what is believed.
    """
    opened: list[str] = []
    while found := set(unlike_their_history()) - set(opened):
        with transaction.atomic(), single_statement():
            # Locked as reservations lock them, in one fixed order.
            rows = Stock.objects.select_for_update().filter(pk__in=found).order_by("pk")
            for stock in rows:
                publish(
                    StockOpened(
                        product_id=stock.pk, available=stock.available, reserved=stock.reserved, shipped=stock.shipped
                    )
                )
            StockSnapshot.objects.filter(product_id__in=[stock.pk for stock in rows]).delete()
        if not rows:
            break
        opened += [stock.pk for stock in rows]
    return opened
