"""What notifications reacts to. The first four write mails, the last sends them: a mail server that is down delays
mail and nothing else."""

from collections.abc import Sequence

from eventbus import Retry, after_restore, consumer
from notifications import rendering, services
from notifications.events import NotificationQueued
from notifications.models import Kind, Mail
from orders.events import CancelledBy, OrderCancelled, OrderConfirmed, OrderRejected, OrderShipped

#: What a cancellation says first.
BY_WHOM: dict[CancelledBy | None, str] = {
    CancelledBy.CUSTOMER: "It was cancelled at your request, where you placed it.",
    CancelledBy.STAFF: "It was cancelled by our staff.",
    CancelledBy.DEADLINE: "It was cancelled by us, because we could not confirm it in time. We are sorry.",
    None: "It was called off.",
}


@consumer("notifications.queue_confirmation", on=[OrderConfirmed], concurrency=20, time_limit=10, batched=True)
def queue_confirmation(events: Sequence[OrderConfirmed]) -> None:
    """Write to the customer that the order is coming."""
    services.queue_mails([(confirmation(event), event) for event in events])


@consumer("notifications.queue_apology", on=[OrderRejected], concurrency=20, time_limit=10, batched=True)
def queue_apology(events: Sequence[OrderRejected]) -> None:
    """Write to the customer that the order is not coming, and why."""
    services.queue_mails([(apology(event), event) for event in events])


@consumer("notifications.queue_tracking", on=[OrderShipped], concurrency=20, time_limit=10, batched=True)
def queue_tracking(events: Sequence[OrderShipped]) -> None:
    """Write to the customer that the order is on its way, and how to follow it."""
    services.queue_mails([(tracking(event), event) for event in events])


@consumer("notifications.queue_cancellation", on=[OrderCancelled], concurrency=20, time_limit=10, batched=True)
def queue_cancellation(events: Sequence[OrderCancelled]) -> None:
    """Write to the customer that the order was called off, by whom and why."""
    services.queue_mails([(cancellation(event), event) for event in events])


@consumer(
    "notifications.deliver_mail",
    on=[NotificationQueued],
    # A mail server may be down for the night; what waits is mail alone.
    retry=Retry(times=500, delays=(1, 10, 60), max_age=86_400, give_up_on=(Mail.DoesNotExist,)),
    concurrency=20,
    time_limit=10,
    side_effects=True,
)
def deliver_mail(event: NotificationQueued) -> None:
    """Hand a mail to the mail server, at most once."""
    services.deliver_mail(event.mail_id)


@after_restore
def hold_mails() -> None:
    """What was on its way may have been sent after the moment to which the database was restored."""
    services.hold_mails()


def confirmation(event: OrderConfirmed) -> Mail:
    """The mail that answers a confirmed order."""
    context = rendering.order_context(event.items, event.total_amount, event.currency, event.adjustments)
    return rendering.render_mail(Kind.CONFIRMATION, order_id=event.order_id, to=event.customer_email, context=context)


def apology(event: OrderRejected) -> Mail:
    """The mail that answers a rejected order. Products are called by the names that the customer saw."""
    names = {item.product_id: item.product_name for item in event.items}
    context = rendering.order_context(event.items, event.total_amount, event.currency, event.adjustments)
    context["shortages"] = [
        {"name": names.get(short.product_id, short.product_id), "requested": short.requested, "left": short.available}
        for short in event.shortages
    ]
    return rendering.render_mail(Kind.APOLOGY, order_id=event.order_id, to=event.customer_email, context=context)


def tracking(event: OrderShipped) -> Mail:
    """The mail that answers a shipped order."""
    context = rendering.order_context(event.items, event.total_amount, event.currency, event.adjustments)
    context |= {
        "carrier": event.carrier,
        "tracking_number": event.tracking_number,
        "estimated_delivery": event.estimated_delivery,
    }
    return rendering.render_mail(Kind.TRACKING, order_id=event.order_id, to=event.customer_email, context=context)


def cancellation(event: OrderCancelled) -> Mail:
    """The mail that answers a cancelled order."""
    context = rendering.order_context(event.items, event.total_amount, event.currency, event.adjustments)
    context |= {"by_whom": BY_WHOM[event.cancelled_by], "reason": event.reason}
    return rendering.render_mail(Kind.CANCELLATION, order_id=event.order_id, to=event.customer_email, context=context)
