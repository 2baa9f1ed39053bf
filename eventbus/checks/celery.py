"""What Celery gets wrong by default. Each worker runs these at its start, and refuses to run with an error."""

from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import autodiscover_modules

from eventbus import failpoints
from eventbus.broker import topology
from eventbus.checks.tags import BUS
from eventbus.conf import bus_settings
from eventbus.declaration import CONSUMERS
from eventbus.worker.celery_settings import celery_app

#: What each Celery setting must be, and what would happen otherwise.
CELERY_MUST = {
    "worker_consumer": ("eventbus.worker.celery_consumer:BusConsumer", "the worker takes only Celery's own messages"),
    "task_acks_late": (True, "an event is acknowledged before its effects are committed, and a crash loses it"),
    "task_reject_on_worker_lost": (True, "an event whose process was killed is acknowledged, and lost"),
    "task_acks_on_timeout": (False, "an event that took too long is acknowledged, and lost"),
    "worker_cancel_long_running_tasks_on_connection_loss": (
        True,
        "an old run and its redelivered twin meet",
    ),
    "broker_connection_max_retries": (None, "the worker gives up while the broker is away"),
    "broker_channel_error_retry": (True, "one delivery that takes too long ends the worker"),
    "task_create_missing_queues": (False, "a queue with a typing error in its name comes into being"),
}

TASK_MUST = {"acks_late": True, "reject_on_worker_lost": True, "acks_on_timeout": False}


def app_with_tasks() -> Any:
    """The Celery application, all tasks declared."""
    app = celery_app()
    # Not by Celery's own loader: when that imports them, it runs the checks.
    for module in app.conf.imports:
        import_module(module)
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
    app = app_with_tasks()
    found: list[CheckMessage] = [
        Error(
            f"Celery's {name} is {app.conf[name]!r}: {otherwise}.",
            hint=f"Set it to {wanted!r}: see eventbus/worker/celery_settings.py.",
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
        for name, task in sorted(app_with_tasks().tasks.items())
        if not name.startswith("celery.")
        for option, wanted in TASK_MUST.items()
        if getattr(task, option, wanted) not in (wanted, None)
    ]


@register(BUS)
def names_are_used_once(**_: Any) -> list[CheckMessage]:
    """A consumer's name is queue and task at once: a second thing of that name would share its messages."""
    queues = [queue.name for queue in topology.queues()]
    taken = {name: "another queue" for name in queues if queues.count(name) > 1}
    taken |= {each["task"]: "a periodic task" for each in app_with_tasks().conf.beat_schedule.values()}
    found: list[CheckMessage] = []
    for consumer in CONSUMERS.values():
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
def the_webhook_is_an_address(**_: Any) -> list[CheckMessage]:
    """Found at the start, and not when the first alarm should be sent."""
    url = urlsplit(bus_settings.ALARM_WEBHOOK_URL)
    if not bus_settings.ALARM_WEBHOOK_URL or (url.scheme in ("http", "https") and url.hostname):
        return []
    return [
        Error(
            "ALARM_WEBHOOK_URL is not a valid http or https address.",
            hint="Write it in full, such as https://alarms.example/hook, or leave it empty.",
            id="eventbus.E012",
        )
    ]
