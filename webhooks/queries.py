"""Reads of webhooks, as plain data in the API's shape."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from webhooks.models import Attempt, Delivery, State, Webhook


def webhooks_of(owner: Any) -> QuerySet[Webhook]:
    """Those that this account has."""
    return Webhook.objects.filter(owner=owner).exclude(state=State.DELETED)


def deliveries_of(webhook: Webhook) -> QuerySet[Delivery]:
    """All that was ever to be delivered to it and is still kept, the newest first."""
    return Delivery.objects.filter(webhook=webhook).order_by("-id")


def page_of(found: QuerySet[Any], *, limit: int, before: UUID | None) -> tuple[list[Any], UUID | None]:
    """A page of rows, newest first, and before which id the next one begins."""
    rows = list((found if before is None else found.filter(pk__lt=before)).order_by("-id")[: limit + 1])
    return rows[:limit], rows[limit - 1].pk if len(rows) > limit else None


def as_data(webhook: Webhook) -> dict[str, Any]:
    """A webhook, without its secret."""
    return {
        "webhookId": webhook.pk,
        "url": webhook.url,
        "eventTypes": webhook.event_types,
        "filters": webhook.filters,
        "description": webhook.description,
        "state": webhook.state,
        "disabledBecause": webhook.disabled_because or None,
        "disabledAt": webhook.disabled_at,
        "failingSince": webhook.failing_since,
        "notBefore": webhook.not_before,
        "previousSecretUntil": webhook.previous_secret_until,
        "recovering": webhook.recovering_from is not None,
        "createdAt": webhook.created_at,
    }


def delivery_as_data(delivery: Delivery) -> dict[str, Any]:
    """A delivery, without its attempts."""
    return {
        "deliveryId": delivery.pk,
        "webhookId": delivery.webhook_id,
        "eventId": delivery.event_id,
        "eventType": delivery.event_type,
        "aggregateId": delivery.aggregate_id,
        "occurredAt": delivery.occurred_at,
        "state": delivery.state,
        "tries": delivery.tries,
        "dueAt": delivery.due_at if delivery.state == "WAITING" else None,
        "error": delivery.error or None,
        "createdAt": delivery.created_at,
        "deliveredAt": delivery.delivered_at,
    }


def delivery_in_full(delivery: Delivery) -> dict[str, Any]:
    """A delivery with every attempt, the first one first."""
    return delivery_as_data(delivery) | {"attempts": [attempt_as_data(each) for each in delivery.attempts.all()]}


def attempt_as_data(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": attempt.at,
        "milliseconds": attempt.milliseconds,
        "status": attempt.status,
        "error": attempt.error or None,
        "answer": attempt.answer,
    }
