"""What only the servers can say: `manage.py check --deploy --tag bus`."""

from collections.abc import Iterator, Mapping
from typing import Any

from amqp import NotFound, PreconditionFailed
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.db import DatabaseError

from eventbus.broker import topology
from eventbus.broker.connection import BROKER_ERRORS, connect, declaring_url
from eventbus.broker.management import ask, vhost
from eventbus.broker.publisher import ConfirmingPublisher, Outgoing, Unconfirmed
from eventbus.checks.broker import longest_hold, too_impatient
from eventbus.checks.tags import BUS
from eventbus.conf import bus_settings
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.subscriptions.models import Subscription

DECLARE = "Run `manage.py declare_topology`."


@register(BUS, deploy=True)
def broker_and_declarations_agree(**_: Any) -> list[CheckMessage]:
    """What only the broker knows: queues that are missing or drifted, and whether it confirms."""
    try:
        return [*_drift(), *_confirms()]
    except BROKER_ERRORS as error:
        return [unasked("broker", error)]


def _drift() -> Iterator[CheckMessage]:
    with connect(declaring_url()) as broker:
        for queue in topology.queues():
            try:
                with broker.channel() as channel:
                    channel.queue_declare(queue.name, passive=True)
                # It is there, so this makes none: it only compares.
                with broker.channel() as channel:
                    channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
            except NotFound:
                yield Error(f"There is no queue {queue.name}.", hint=DECLARE, id="eventbus.E013")
            except PreconditionFailed as drift:
                yield Error(
                    f"The queue {queue.name} has other arguments than declared: {drift.reply_text}",
                    hint=f"Arguments can't be changed: drain the queue, delete it. {DECLARE}",
                    id="eventbus.E014",
                )


def _confirms() -> list[CheckMessage]:
    publisher = ConfirmingPublisher(bus_settings.BROKER_URL, confirm_timeout=5)
    try:
        # To nobody: it comes back, and is confirmed all the same.
        publisher.send([Outgoing("", "eventbus.nobody", b"", {"message_id": "check"})])
    except Unconfirmed:
        return [
            Error(
                "The broker does not confirm what is published.",
                hint="Look for a memory or disk alarm: `rabbitmq-diagnostics alarms`.",
                id="eventbus.E015",
            )
        ]
    finally:
        publisher.close()
    return []


#: What of a policy, or of a queue's own arguments, keeps it from growing without end.
LIMITS = {"max-length", "max-length-bytes"}


@register(BUS, deploy=True)
def policies_fit_the_declarations(**_: Any) -> list[CheckMessage]:
    """What operators set: a length for each consumer's queue, and no time-out that is shorter than its runs."""
    if not bus_settings.MANAGEMENT_URL:
        hint = "Set it to see whether queues have length limits, and how long the broker waits."
        return [Info("MANAGEMENT_URL is not set, so policies were not looked at.", hint=hint, id="eventbus.I018")]
    try:
        queues = {queue["name"]: queue for queue in ask(f"queues/{vhost()}")}
    except (OSError, ValueError) as error:
        return [unasked("management API", error)]
    return [
        message for name, queue in queues.items() if name in CONSUMERS for message in _policy(CONSUMERS[name], queue)
    ]


def _policy(consumer: Consumer, queue: Mapping[str, Any]) -> Iterator[CheckMessage]:
    found: dict[str, Any] = {name.removeprefix("x-"): value for name, value in queue.get("arguments", {}).items()}
    for definition in ("operator_policy_definition", "effective_policy_definition"):
        found |= queue.get(definition) or {}
    if not LIMITS & found.keys():
        yield Warning(
            f"The queue {consumer.name} has no length limit: it may fill the broker's disk, and stop everything.",
            hint="Run deploy/rabbitmq/set_up.py, or set a policy with max-length: see docs/alarms.md.",
            id="eventbus.W019",
        )
    patience = found.get("consumer-timeout")
    if isinstance(patience, int) and longest_hold(consumer) >= patience / 1000:
        yield too_impatient(consumer, patience / 1000, "the queue's policy")


@register(BUS, deploy=True)
def nobody_was_renamed(**_: Any) -> list[CheckMessage]:
    """A consumer that is not declared any more leaves a queue that grows; a contract it left, its binding."""
    try:
        known = list(Subscription.objects.values_list("consumer", "routing_key"))
    except DatabaseError as error:
        return [unasked("database", error)]
    found: list[CheckMessage] = []
    for name in sorted({name for name, _ in known} - set(CONSUMERS)):
        found.append(
            Warning(
                f"{name} listened once and is not declared any more. Its queue grows, and what it has handled "
                "a consumer of another name would handle again.",
                hint="Declare it under its old name again. If it is gone for good: see docs/alarms.md.",
                id="eventbus.W016",
            )
        )
    for name, key in sorted(known):
        consumer: Consumer | None = CONSUMERS.get(name)
        if consumer is not None and key not in consumer.reads:
            found.append(
                Warning(
                    f"{name} does not listen to {key} any more, but its queue is still bound to it: such events become "
                    "dead letters.",
                    hint="Remove the binding and the row: see docs/alarms.md.",
                    id="eventbus.W017",
                )
            )
    return found


def unasked(what: str, error: Exception) -> CheckMessage:
    return Info(
        f"The {what} does not answer, so it was not asked: {type(error).__name__}.",
        hint="Run this again where it can be reached.",
        id="eventbus.I018",
    )
