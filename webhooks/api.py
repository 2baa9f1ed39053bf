"""Partners' own webhooks over REST."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from django.http import Http404, HttpResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api import idempotency
from api.body import read_body
from api.fields import Line, PastMoment
from api.operations import Operation, Refusal, operation
from api.pagination import page
from api.problems import Problem, invalid, wrong
from api.query import Query, read_query, refuse_query
from eventbus import decode_json, encode_json
from webhooks import answers, queries, secrets, services
from webhooks.addresses import ForbiddenAddress
from webhooks.catalogue import PLACED
from webhooks.models import Delivery, DeliveryState, State, Webhook


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("not with a NUL")
    return text


Text = Annotated[StrictStr, Field(max_length=200), AfterValidator(_no_nul)]
EventTypes = Annotated[list[Text], Field(min_length=1, max_length=50)]
Filters = Annotated[
    dict[Text, Annotated[list[Text | StrictBool | StrictInt], Field(min_length=1, max_length=100)]],
    Field(max_length=10),
]
Url = Annotated[StrictStr, Field(max_length=2_000)]
Description = Annotated[Line, Field(max_length=200)]


#: Nothing is sent to one that is paused or disabled.
NOT_ACTIVE = Refusal(409, "webhook-not-active", "It is paused or disabled. Resume it first.")


def _by_example(*examples: JsonValue) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class NewWebhook(_Body):
    """What a webhook is to be."""

    model_config = _by_example(
        {
            "url": "https://partner.example/hook",
            "eventTypes": [PLACED.type],
            "filters": {"currency": ["EUR", "USD"]},
        }
    )

    url: Url
    event_types: EventTypes
    filters: Filters = {}
    description: Description | None = None


class WebhookChange(_Body):
    """What is to be different about it."""

    model_config = _by_example({"active": False}, {"eventTypes": [PLACED.type], "filters": {}})

    url: Url | None = None
    event_types: EventTypes | None = None
    filters: Filters | None = None
    description: Description | None = None
    active: Annotated[bool | None, Field(description="`false` pauses it, `true` resumes it.")] = None


class EmptyBody(_Body):
    """A body that says nothing."""

    model_config = _by_example({})


class Recovery(_Body):
    """From when on what was missed is wanted."""

    # A moment is text in JSON.
    model_config = ConfigDict(strict=False, json_schema_extra={"examples": [{"since": "2026-11-01T00:00:00Z"}]})

    since: PastMoment


class WebhooksQuery(Query):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: UUID | None = None


class DeliveriesQuery(WebhooksQuery):
    """Which deliveries, and which part of them."""

    state: DeliveryState | None = None


def refuse_words(request: Request) -> None:
    """The address says it all. Raises a Problem for a query, and for a body that is more than empty."""
    refuse_query(request)
    read_body(EmptyBody, request, optional=True)


def sending(operation_id: str) -> Operation:
    """One that sends something and does not wait for what comes of it: its delivery tells."""
    return Operation(
        id=operation_id,
        tag="Webhooks",
        status=HTTPStatus.ACCEPTED,
        body=EmptyBody,
        body_optional=True,
        answers=answers.DeliveryAnswer,
        keyed=True,
        refuses=(NOT_ACTIVE,),
    )


class OwnersView(APIView):
    """What a partner sees: its own. Nobody else's can be found."""

    def webhook(self, webhook_id: UUID) -> Webhook:
        """Raises Http404."""
        found = queries.webhooks_of(self.request.user).filter(pk=webhook_id).first()
        if found is None:
            raise Http404
        return found

    def delivery(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises Http404."""
        found = queries.deliveries_of(self.webhook(webhook_id)).filter(pk=delivery_id).select_related("webhook").first()
        if found is None:
            raise Http404
        return found


class WebhooksView(OwnersView):
    @operation(Operation(id="listWebhooks", tag="Webhooks", query=WebhooksQuery, answers=answers.WebhookList))
    def get(self, request: Request) -> Response:
        """List your webhooks, newest first."""
        wanted = read_query(WebhooksQuery, request)
        found, before = queries.page_of(queries.webhooks_of(request.user), limit=wanted.limit, before=wanted.before)
        return page(request, [queries.as_data(each) for each in found], next=after(before))

    @operation(
        Operation(
            id="createWebhook",
            tag="Webhooks",
            status=HTTPStatus.CREATED,
            body=NewWebhook,
            answers=answers.WebhookWithSecret,
            keyed=True,
            sends={"Location": "The webhook's address."},
            refuses=(Refusal(409, "too-many-webhooks", "You have as many webhooks as one may have."),),
        )
    )
    def post(self, request: Request) -> HttpResponse:
        """Make a webhook.

        Its secret is in this answer and in no other, but for repeats with the same key.
        """
        refuse_query(request)
        asked = read_body(NewWebhook, request)
        wish = wished(**asked.model_dump())

        def create() -> dict[str, Any]:
            try:
                made, secret = services.create_webhook(owner=request.user, wish=wish)
            except services.TooManyWebhooks as error:
                raise Problem(409, str(error), kind="too-many-webhooks") from None
            return queries.as_data(made) | {"secret": sealed(secret)}

        answer = idempotency.answer_once(request, asked.model_dump(), create, status=HTTPStatus.CREATED)
        return with_secret(answer, request)


class WebhookView(OwnersView):
    @operation(Operation(id="readWebhook", tag="Webhooks", answers=answers.WebhookAnswer))
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """Read a webhook."""
        refuse_query(request)
        return Response(queries.as_data(self.webhook(webhook_id)))

    @operation(
        Operation(id="changeWebhook", tag="Webhooks", body=WebhookChange, answers=answers.WebhookAnswer, keyed=True)
    )
    def patch(self, request: Request, webhook_id: UUID) -> HttpResponse:
        """Change a webhook, pause it, or resume it.

        What is not named stays as it is. What waits already goes to the new address.
        """
        refuse_query(request)
        change = read_body(WebhookChange, request)
        before = self.webhook(webhook_id)
        told = change.model_dump(exclude_none=True, exclude={"active"})
        names = ("url", "event_types", "filters", "description")
        # What is only to be paused need not be allowed any more.
        wish = wished(**{name: getattr(before, name) for name in names} | told) if told else None

        def act() -> dict[str, Any]:
            if wish is not None:
                services.change_webhook(webhook_id, wish)
            if change.active is not None:
                (services.resume if change.active else services.pause)(webhook_id)
            return queries.as_data(self.webhook(webhook_id))

        return idempotency.answer_once(request, change.model_dump(exclude_none=True), act)

    @operation(Operation(id="deleteWebhook", tag="Webhooks", answers=answers.WebhookAnswer))
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        """Delete a webhook: be told no more. The answer is what it was."""
        refuse_query(request)
        webhook = self.webhook(webhook_id)
        services.delete_webhook(webhook_id)
        return Response(queries.as_data(webhook) | {"state": State.DELETED})


class RotationView(OwnersView):
    @operation(
        Operation(
            id="rotateWebhookSecret",
            tag="Webhooks",
            body=EmptyBody,
            body_optional=True,
            answers=answers.WebhookWithSecret,
            keyed=True,
        )
    )
    def post(self, request: Request, webhook_id: UUID) -> HttpResponse:
        """Rotate the secret of a webhook.

        The answer has the new one; the one before it signs as well for another day.
        """
        refuse_words(request)
        self.webhook(webhook_id)

        def rotate() -> dict[str, Any]:
            with still_there():
                secret = services.rotate_secret(webhook_id)
            return queries.as_data(self.webhook(webhook_id)) | {"secret": sealed(secret)}

        return with_secret(idempotency.answer_once(request, {}, rotate), request)


class PingView(OwnersView):
    @operation(sending("pingWebhook"))
    def post(self, request: Request, webhook_id: UUID) -> HttpResponse:
        """Send a test.

        What came of it is in the delivery that the answer names.
        """
        refuse_words(request)
        self.webhook(webhook_id)

        def ping() -> dict[str, Any]:
            with active_only():
                return queries.delivery_as_data(services.ping(webhook_id))

        return idempotency.answer_once(request, {}, ping, status=HTTPStatus.ACCEPTED)


class RecoveryView(OwnersView):
    @operation(
        Operation(
            id="recoverWebhook",
            tag="Webhooks",
            status=HTTPStatus.ACCEPTED,
            body=Recovery,
            answers=answers.WebhookAnswer,
            keyed=True,
            refuses=(NOT_ACTIVE,),
        )
    )
    def post(self, request: Request, webhook_id: UUID) -> HttpResponse:
        """Get all that a webhook has missed since a moment, up to 30 days back."""
        refuse_query(request)
        asked = read_body(Recovery, request)
        self.webhook(webhook_id)

        def recover() -> dict[str, Any]:
            with active_only():
                services.recover(webhook_id, since=asked.since)
            return queries.as_data(self.webhook(webhook_id))

        return idempotency.answer_once(request, asked.model_dump(), recover, status=HTTPStatus.ACCEPTED)


class DeliveriesView(OwnersView):
    @operation(Operation(id="listDeliveries", tag="Webhooks", query=DeliveriesQuery, answers=answers.DeliveryList))
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """List what was to be delivered to a webhook, newest first."""
        wanted = read_query(DeliveriesQuery, request)
        found = queries.deliveries_of(self.webhook(webhook_id))
        if wanted.state is not None:
            found = found.filter(state=wanted.state)
        rows, before = queries.page_of(found, limit=wanted.limit, before=wanted.before)
        return page(request, [queries.delivery_as_data(each) for each in rows], next=after(before))


class DeliveryView(OwnersView):
    @operation(Operation(id="readDelivery", tag="Webhooks", answers=answers.DeliveryInFull))
    def get(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> Response:
        """Read a delivery, with every attempt at it."""
        refuse_query(request)
        return Response(queries.delivery_in_full(self.delivery(webhook_id, delivery_id)))


class ResendView(OwnersView):
    @operation(sending("resendDelivery"))
    def post(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> HttpResponse:
        """Send a delivery again, whatever became of it."""
        refuse_words(request)
        delivery = self.delivery(webhook_id, delivery_id)

        def resend() -> dict[str, Any]:
            with active_only():
                return queries.delivery_as_data(services.resend(delivery))

        return idempotency.answer_once(request, {}, resend, status=HTTPStatus.ACCEPTED)


def after(before: UUID | None) -> dict[str, object] | None:
    return None if before is None else {"before": before}


def wished(**told: Any) -> services.Wish:
    """What the body wishes for. Raises a Problem that points to what is wrong with it."""
    try:
        return services.Wish(**told | {"description": told["description"] or ""})
    except ForbiddenAddress as error:
        raise invalid("body", [wrong("/url", "forbidden_address", str(error))]) from None
    except services.UnknownEvents as error:
        raise invalid("body", [wrong("/eventTypes", "unknown_event", str(error))]) from None
    except services.UnknownFields as error:
        raise invalid("body", [wrong("/filters", "unknown_field", str(error))]) from None


@contextmanager
def still_there() -> Iterator[None]:
    """Turns into Http404 that somebody has deleted it a moment ago."""
    try:
        yield
    except Webhook.DoesNotExist:
        raise Http404 from None


@contextmanager
def active_only() -> Iterator[None]:
    """Turns NotActive into a Problem."""
    try:
        with still_there():
            yield
    except services.NotActive as error:
        raise Problem(409, str(error), kind="webhook-not-active") from None


# An answer that is kept to be given again has the secret only as the tables have it.


def sealed(secret: str) -> str:
    return secrets.seal(secret).decode()


def with_secret(answer: HttpResponse, request: Request) -> HttpResponse:
    """The answer as it goes out, and only there."""
    body = decode_json(answer.content)
    answer.content = encode_json(body | {"secret": secrets.unseal(body["secret"].encode())})
    if answer.status_code == HTTPStatus.CREATED:
        answer["Location"] = request.build_absolute_uri(f"{request.path}/{body['webhookId']}")
    return answer
