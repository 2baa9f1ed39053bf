"""What the API answers about webhooks, for its document. `queries` is what makes them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue

from eventbus import Contract
from webhooks.catalogue import PLACED
from webhooks.models import DeliveryState, State

_WEBHOOK: Any = {
    "webhookId": "01a21acb-02f1-7c3e-9d5b-2f6f0a4c1e77",
    "url": "https://partner.example/hook",
    "eventTypes": [PLACED.type],
    "filters": {"currency": ["EUR", "USD"]},
    "description": "",
    "state": "ACTIVE",
    "disabledBecause": None,
    "disabledAt": None,
    "failingSince": None,
    "notBefore": None,
    "previousSecretUntil": None,
    "recovering": False,
    "createdAt": "2026-11-27T01:57:11.543Z",
}
_DELIVERY: Any = {
    "deliveryId": "01a21acc-7196-7f0a-8a52-6a1f5d0c9b31",
    "webhookId": _WEBHOOK["webhookId"],
    "eventId": "01a21acc-7195-7496-8b1f-5e31b122c043",
    "eventType": PLACED.type,
    "aggregateId": "01a21ab8-8af7-7235-b185-814cfa29344d",
    "occurredAt": "2026-11-27T01:58:02.114Z",
    "state": "WAITING",
    "tries": 1,
    "dueAt": "2026-11-27T01:58:07.310Z",
    "error": "It answered 503.",
    "createdAt": "2026-11-27T01:58:02.130Z",
    "deliveredAt": None,
}
_ATTEMPT: Any = {
    "at": "2026-11-27T01:58:02.140Z",
    "milliseconds": 84,
    "status": 503,
    "error": "It answered 503.",
    "answer": "Back in a minute",
}

NextLink = Annotated[str | None, Field(description="The address of the next page; null on the last one.")]


def _by_example(example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


def _page(of: Any) -> ConfigDict:
    return _by_example({"results": [of], "next": None, "previous": None})


class WebhookAnswer(Contract):
    """A webhook, without its secret."""

    model_config = _by_example(_WEBHOOK)

    webhook_id: UUID
    url: str
    event_types: list[str]
    filters: Annotated[
        dict[str, list[JsonValue]], Field(description="Per field of an event's data the values that pass.")
    ]
    description: str
    state: State
    disabled_because: Annotated[str | None, Field(description="Why we send nothing there any more.")]
    disabled_at: datetime | None
    failing_since: datetime | None
    not_before: Annotated[datetime | None, Field(description="Nothing is sent until then: it fails, or asked for it.")]
    previous_secret_until: Annotated[
        datetime | None, Field(description="The secret before this one signs as well until then.")
    ]
    recovering: Annotated[bool, Field(description="What it missed is being looked for.")]
    created_at: datetime


class WebhookWithSecret(WebhookAnswer):
    """A webhook and its new secret, which no other answer has."""

    model_config = _by_example(_WEBHOOK | {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"})

    secret: Annotated[str, Field(description="As Standard Webhooks writes it. Keep it: it is told once.")]


class WebhookList(Contract):
    """A part of one's webhooks, newest first."""

    model_config = _page(_WEBHOOK)

    results: list[WebhookAnswer]
    next: NextLink
    previous: None


class AttemptAnswer(Contract):
    """One POST, and what came back."""

    at: datetime
    milliseconds: int
    status: Annotated[int | None, Field(description="Null: there was no answer.")]
    error: str | None
    answer: Annotated[str, Field(description="Its first 500 characters.")]


class DeliveryAnswer(Contract):
    """One event for one webhook."""

    model_config = _by_example(_DELIVERY)

    delivery_id: UUID
    webhook_id: UUID
    event_id: Annotated[UUID, Field(description="Its `webhook-id`, at every attempt.")]
    event_type: str
    aggregate_id: Annotated[str, Field(description="What it happened to: an order or a product.")]
    occurred_at: datetime
    state: DeliveryState
    tries: Annotated[int, Field(ge=0, description="Attempts since it was queued, or sent again on request.")]
    due_at: Annotated[datetime | None, Field(description="When it is tried next; while it is sent, when it may be.")]
    error: Annotated[str | None, Field(description="What the last attempt ended with.")]
    created_at: datetime
    delivered_at: datetime | None


class DeliveryInFull(DeliveryAnswer):
    """A delivery with every attempt, the first one first."""

    model_config = _by_example(_DELIVERY | {"attempts": [_ATTEMPT]})

    attempts: list[AttemptAnswer]


class DeliveryList(Contract):
    """A part of a webhook's deliveries, newest first."""

    model_config = _page(_DELIVERY)

    results: list[DeliveryAnswer]
    next: NextLink
    previous: None
