"""System checks: what Celery and RabbitMQ get wrong by default, or a change of the declarations would.

`manage.py check` runs those that need no server, and so does each worker at its start: it refuses to run with an error.
`manage.py check --deploy --tag bus` asks broker and database too.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from amqp import NotFound, PreconditionFailed
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.db import DatabaseError
from django.utils.module_loading import autodiscover_modules

from eventbus import declarations, failpoints, topology
from eventbus.confirms import BROKER_ERRORS, ConfirmingPublisher, Outgoing, Unconfirmed, connect
from eventbus.declarations import LADDER, Consumer
from eventbus.models import Subscription
from eventbus.retries import OUTAGE_DELAYS
from eventbus.topology import JITTER, REDELIVERY_LIMIT, Exchange, Queue, wait_exchange

BUS = "bus"
#: How long a task may go on after its time limit before it is killed: see `eventbus.tasks`.
GRACE = 5

#: What each Celery setting must be, and what would happen otherwise.
CELERY_MUST = {
    "worker_consumer": ("eventbus.bridge:BusConsumer", "the worker takes only Celery's own messages"),
    "task_acks_late": (True, "an event is acknowledged before its effects are committed, and a crash loses it"),
    "task_reject_on_worker_lost": (True, "an event whose process was killed is acknowledged, and lost"),
    "task_acks_on_failure": (False, "an event that failed is acknowledged, and lost"),
    "task_acks_on_timeout": (False, "an event that took too long is acknowledged, and lost"),
    "worker_cancel_long_running_tasks_on_connection_loss": (
        True,
        "an old run and its redelivered twin meet",
    ),
    "broker_connection_max_retries": (None, "the worker gives up while the broker is away"),
    "broker_channel_error_retry": (True, "one delivery that takes too long ends the worker"),
    "task_create_missing_queues": (False, "a queue with a typing error in its name comes into being"),
}
TASK_MUST = {"acks_late": True, "reject_on_worker_lost": True, "acks_on_failure": False, "acks_on_timeout": False}

DECLARE = "Run `manage.py declare_topology`."


def celery_app() -> Any:
    # Only the checks need it: nobody else who starts Django should have to load Celery.
    from config.celery import app

    # Not by Celery's own loader: when that imports them, it runs the checks.
    autodiscover_modules("tasks")
    return app


@register(BUS)
def failpoint_exists(**_: Any) -> list[CheckMessage]:
    """A test whose failpoint is misspelt would pass, and show nothing."""
    if failpoints.ACTIVE and failpoints.ACTIVE not in failpoints.NAMES:
        known = ", ".join(sorted(failpoints.NAMES))
        return [Error(f"There is no failpoint {failpoints.ACTIVE!r}.", hint=f"Known: {known}.", id="eventbus.E002")]
    return []


@register(BUS)
def celery_loses_nothing(**_: Any) -> list[CheckMessage]:
    """Celery's defaults acknowledge early, and acknowledge failures."""
    app = celery_app()
    found: list[CheckMessage] = [
        Error(
            f"Celery's {name} is {app.conf[name]!r}: {otherwise}.",
            hint=f"Set it to {wanted!r}: see eventbus/celery_settings.py.",
            id="eventbus.E003",
        )
        for name, (wanted, otherwise) in CELERY_MUST.items()
        if app.conf[name] != wanted
    ]
    if (app.conf.broker_transport_options or {}).get("confirm_publish"):
        found.append(
            Error(
                "confirm_publish is on for Celery's own connection: a broker that hangs then freezes the worker.",
                hint="Leave it off there. The bus publishes with confirms over a connection of its own.",
                id="eventbus.E004",
            )
        )
    return found


@register(BUS)
def tasks_lose_nothing(**_: Any) -> list[CheckMessage]:
    """A task's own options win over the settings."""
    return [
        Error(
            f"The task {name} has {option}={getattr(task, option)!r}: what it fails at is acknowledged, and lost.",
            hint=f"Remove {option} from its declaration.",
            id="eventbus.E005",
        )
        for name, task in sorted(celery_app().tasks.items())
        if not name.startswith("celery.")
        for option, wanted in TASK_MUST.items()
        if getattr(task, option, wanted) not in (wanted, None)
    ]


@register(BUS)
def queues_have_a_delivery_limit(**_: Any) -> list[CheckMessage]:
    """RabbitMQ 3 has none by default: an event that kills its worker would go round for ever."""
    found: list[CheckMessage] = []
    for queue in _consumer_queues():
        limit = queue.arguments.get("x-delivery-limit")
        if not isinstance(limit, int) or limit <= REDELIVERY_LIMIT:
            found.append(
                Error(
                    f"The queue {queue.name} has the delivery limit {limit}: an event that kills its worker comes back "
                    "for ever, or is dead-lettered before the bus can say why.",
                    hint=f"Set x-delivery-limit above {REDELIVERY_LIMIT} in eventbus/topology.py.",
                    id="eventbus.E006",
                )
            )
    return found


QUEUE_MUST = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-strategy": "at-least-once",
    "x-dead-letter-exchange": topology.DEAD,
}


@register(BUS)
def queues_push_back_and_drop_nothing(**_: Any) -> list[CheckMessage]:
    """By default a full queue drops its oldest message, and dead-lettering loses what finds no queue."""
    return [
        Error(
            f"The queue {queue.name} has {name}={queue.arguments.get(name)!r}, so it can lose events.",
            hint=f"Set {name} to {wanted!r} in eventbus/topology.py.",
            id="eventbus.E007",
        )
        for queue in _consumer_queues()
        for name, wanted in QUEUE_MUST.items()
        if queue.arguments.get(name) != wanted
    ]


@register(BUS)
def the_broker_waits_long_enough(**_: Any) -> list[CheckMessage]:
    """RabbitMQ takes a delivery back that is not acknowledged in time, and closes the channel."""
    return [
        Error(
            f"{consumer.name} may take {longest} s, and the broker takes a delivery back after "
            f"{settings.BROKER_CONSUMER_TIMEOUT} s.",
            hint="Lower time_limit or the retry delays, or raise consumer_timeout in rabbitmq.conf (milliseconds) and "
            "BROKER_CONSUMER_TIMEOUT (seconds) with it.",
            id="eventbus.E008",
        )
        for consumer in declarations.registry.values()
        if (longest := max(consumer.time_limit + GRACE, *consumer.retry.delays)) >= settings.BROKER_CONSUMER_TIMEOUT
    ]


@register(BUS)
def dead_letters_go_in_no_circle(**_: Any) -> list[CheckMessage]:
    """RabbitMQ drops, without a word, a message that dead-letters its way back to where it was."""
    queues, exchanges = list(topology.queues()), {exchange.name: exchange for exchange in topology.exchanges()}
    circles = {frozenset(circle): circle for queue in queues if (circle := _circle(queue, queues, exchanges))}
    return [
        Error(
            f"Dead letters go in a circle: {' -> '.join([*circle, circle[0]])}.",
            hint="Give one of these queues no dead-letter exchange, or another one, in eventbus/topology.py.",
            id="eventbus.E009",
        )
        for circle in circles.values()
    ]


def _circle(start: Queue, queues: list[Queue], exchanges: Mapping[str, Exchange]) -> list[str]:
    """The names on the way from a queue back to itself, if there is one."""
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop()
        for target in _dead_letter_targets(path[-1], queues, exchanges):
            if target.name == start.name:
                return [queue.name for queue in path]
            if target.name not in seen:
                seen.add(target.name)
                paths.append([*path, target])
    return []


def _dead_letter_targets(queue: Queue, queues: list[Queue], exchanges: Mapping[str, Exchange]) -> Iterator[Queue]:
    name, key = queue.arguments.get("x-dead-letter-exchange"), queue.arguments.get("x-dead-letter-routing-key")
    if name is None:
        return
    for other in queues:
        if name == "":
            # Without a key of its own the message keeps the one it came with: a delayed event's is its consumer.
            if other.name == key or (key is None and other.name in declarations.registry):
                yield other
        elif other.exchange == name:
            takes_all = key is None or (name in exchanges and exchanges[name].type == "fanout")
            if takes_all or key in other.routing_keys:
                yield other


@register(BUS)
def names_are_used_once(**_: Any) -> list[CheckMessage]:
    """A consumer's name is queue and task at once: a second thing of that name would share its messages."""
    queues = [queue.name for queue in topology.queues()]
    taken = {name: "another queue" for name in queues if queues.count(name) > 1}
    taken |= {each["task"]: "a periodic task" for each in celery_app().conf.beat_schedule.values()}
    found: list[CheckMessage] = []
    for consumer in declarations.registry.values():
        what = "a part of the bus" if consumer.group == "eventbus" else taken.get(consumer.name)
        if what:
            found.append(
                Error(
                    f"The consumer {consumer.name} has the name of {what}.",
                    hint="Pick another name for it.",
                    id="eventbus.E010",
                )
            )
    return found


@register(BUS)
def every_delay_has_its_queues(**_: Any) -> list[CheckMessage]:
    """An event that is sent to a delay without a queue can't be postponed, and its consumer stands still."""
    queues = {queue.name for queue in topology.queues()}
    asked: list[tuple[str, int]] = [("the bus itself", delay) for delay in OUTAGE_DELAYS]
    asked += [(consumer.name, delay) for consumer in declarations.registry.values() for delay in consumer.retry.delays]
    return [
        Error(
            f"The retry delay of {delay} s, which {who} wants, has no queue.",
            hint=f"Pick from {LADDER}, or add a rung to LADDER in eventbus/declarations.py.",
            id="eventbus.E011",
        )
        for who, delay in asked
        if not all(wait_exchange(delay, jitter) in queues for jitter in JITTER)
    ]


@register(BUS)
def the_webhook_is_an_address(**_: Any) -> list[CheckMessage]:
    """Found at the start, and not when the first alarm should be told."""
    url = urlsplit(settings.ALARM_WEBHOOK_URL)
    if not settings.ALARM_WEBHOOK_URL or (url.scheme in ("http", "https") and url.hostname):
        return []
    return [
        Error(
            "ALARM_WEBHOOK_URL is no http or https address.",
            hint="Write it in full, such as https://alarms.example/hook, or leave it empty.",
            id="eventbus.E012",
        )
    ]


@register(BUS, deploy=True)
def broker_and_declarations_agree(**_: Any) -> list[CheckMessage]:
    """What only the broker can tell: queues that are missing or drifted, and whether it confirms."""
    try:
        return [*_drift(), *_confirms()]
    except BROKER_ERRORS as error:
        return [_unasked("broker", error)]


def _drift() -> Iterator[CheckMessage]:
    with connect(settings.BROKER_URL) as broker:
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
    publisher = ConfirmingPublisher(settings.BROKER_URL, confirm_timeout=5)
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


@register(BUS, deploy=True)
def nobody_was_renamed(**_: Any) -> list[CheckMessage]:
    """A consumer that is declared no more leaves a queue that fills; a contract it left, a binding that feeds it."""
    try:
        known = list(Subscription.objects.values_list("consumer", "routing_key"))
    except DatabaseError as error:
        return [_unasked("database", error)]
    found: list[CheckMessage] = []
    for name in sorted({name for name, _ in known} - set(declarations.registry)):
        found.append(
            Warning(
                f"{name} listened once and is declared no more. Its queue goes on filling, and what it has handled "
                "a consumer of another name would handle again.",
                hint="Declare it under its old name again. If it is gone for good: see docs/alarms.md.",
                id="eventbus.W016",
            )
        )
    for name, key in sorted(known):
        consumer: Consumer | None = declarations.registry.get(name)
        if consumer is not None and key not in consumer.routing_keys:
            found.append(
                Warning(
                    f"{name} listens no more to {key}, but its queue is still bound to it: they become dead letters.",
                    hint="Remove the binding and the row: see docs/alarms.md.",
                    id="eventbus.W017",
                )
            )
    return found


def _unasked(what: str, error: Exception) -> CheckMessage:
    return Info(
        f"The {what} does not answer, so it was not asked: {type(error).__name__}.",
        hint="Run this again where it can be reached.",
        id="eventbus.I018",
    )


def _consumer_queues() -> list[Queue]:
    return [topology.consumer_queue(consumer) for consumer in declarations.registry.values()]
