"""People, and orders on their way, for tests of the console."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client

from eventbus import Consumer
from eventbus.testing import ArchivedEvent, Outbox, deliver, from_archive
from inventory.consumers import reserve_stock
from inventory.services import receive_stock
from notifications.consumers import queue_apology, queue_cancellation, queue_confirmation, queue_tracking
from orders.consumers import confirm, reject, ship
from orders.models import Order
from orders.tests.builders import placed_order
from shipping.consumers import prepare

#: Those that an order meets; mails are written and not sent.
CONSUMERS = (
    reserve_stock, prepare, confirm, reject, ship,
    queue_confirmation, queue_apology, queue_cancellation, queue_tracking,
)  # fmt: skip


def signed_in(*roles: str, name: str = "") -> Client:
    """A browser of somebody of the staff who has these roles."""
    call_command("load_roles", verbosity=0)
    user = User.objects.create_user(name or "-".join(roles) or "nobody", is_staff=True)
    user.groups.set(Group.objects.filter(name__in=roles))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def stocked() -> None:
    """There is enough of what orders of tests ask for."""
    for product_id in ("vase", "jug"):
        receive_stock(product_id=product_id, product_name=product_id.title(), quantity=1_000)
    Outbox.objects.all().delete()


def answered_order(*, but: Collection[Consumer] = (), **changes: Any) -> Order:
    """An order that has been through all who answer it, but these."""
    order = placed_order(**changes)
    work_off(but=but)
    order.refresh_from_db()
    return order


def work_off(*, but: Collection[Consumer] = ()) -> None:
    """Be the relay and all workers until the outbox is empty; what is for the others in `but` stays under way."""
    while rows := list(Outbox.objects.order_by("position")):
        for row in rows:
            row.delete()
            event = from_archive(ArchivedEvent.objects.get(pk=row.event_id))
            for consumer in CONSUMERS:
                if type(event) in consumer.on and consumer not in but:
                    deliver(event, to=consumer)


def event_of(order_id: UUID, event_type: str) -> UUID:
    """The id of an order's event of this type."""
    return ArchivedEvent.objects.get(aggregate_id=str(order_id), type=event_type).pk
