"""What a consumer declares: its name, the events it listens to, and how it is run, retried and limited."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from django.db.models import Model

from eventbus.contracts import Event

#: The rungs of the retry ladder, in seconds: one shared delay queue each.
LADDER = (1, 10, 60, 600)

NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")

#: The folder of the consumers that need no app, one file each. One worker process runs them all.
SMALL = "consumers"

Handler = Callable[[Any], None]
Start = Literal["now", "beginning"]


class PermanentFailure(Exception):
    """A handler raises it where trying again cannot help: the event becomes a dead letter at once."""


class RetryAfter(Exception):
    """A handler raises it where it knows when to try again, such as from a Retry-After header.

    Rounded up to the next rung of the ladder. Uses up no attempt; the consumer's `max_age` still holds.
    """

    def __init__(self, seconds: float, why: str = "") -> None:
        super().__init__(seconds, why)
        self.seconds = seconds


@dataclass(frozen=True)
class Retry:
    """How often and how late a failed event is tried again.

    `times` beside the first attempt; `delays` are rungs of the ladder, in seconds, the last one repeats;
    `max_age` in seconds: an older event is not retried any more; `give_up_on`: errors that never heal.
    """

    times: int = 3
    delays: tuple[int, ...] = (1, 10, 60)
    max_age: int = 3600
    give_up_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        unknown = set(self.delays) - set(LADDER)
        if unknown or not self.delays:
            raise ValueError(f"Retry delays {sorted(unknown)} have no delay queue; pick from {LADDER}.")


@dataclass(frozen=True)
class Consumer:
    """A declared consumer. Calling it calls the handler, without the bus."""

    #: Django's templates call whatever can be called.
    do_not_call_in_templates: ClassVar[bool] = True

    name: str
    on: tuple[type[Event], ...]
    handler: Handler
    retry: Retry
    concurrency: int
    time_limit: int
    batch: int
    takes_list: bool
    ordered: bool
    outside_effects: bool
    start: Start
    tables: tuple[str, ...]
    routing_keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "routing_keys", tuple(dict.fromkeys(contract.routing_key() for contract in self.on)))

    @property
    def group(self) -> str:
        """The worker process that runs it: its app, or that of all the small ones."""
        if self.handler.__module__.split(".")[0] == SMALL:
            return SMALL
        return self.name.split(".")[0]

    @property
    def dead_queue(self) -> str:
        return f"{self.name}.dead"

    def __call__(self, event: Any) -> None:
        self.handler(event)


registry: dict[str, Consumer] = {}


def consumer(
    name: str,
    *,
    on: Sequence[type[Event]],
    retry: Retry | None = None,
    concurrency: int = 10,
    time_limit: int = 30,
    batch: int = 100,
    takes_list: bool = False,
    ordered: bool = False,
    outside_effects: bool = False,
    start: Start = "now",
    projects: Sequence[type[Model]] = (),
) -> Callable[[Handler], Consumer]:
    """Declare a consumer. Its name is queue, task and inbox key at once, and never changes.

    `concurrency`: pool processes at most; `time_limit`: seconds for one event; `batch`: how many waiting events share a
    transaction at most (1: never); `takes_list`: the handler takes the whole list and works set-wise;
    `ordered`: the events of an aggregate are handled in their order, whatever fails or comes twice (costs a few
    statements per batch and a row per aggregate);
    `outside_effects`: the handler reaches outside the database. It then runs alone and outside the bus's transaction,
    must claim its work itself, and is left out of replays unless named;
    `start`: "beginning" fills a new consumer with every event of the archive before it goes over to live ones;
    `projects`: the tables that hold nothing but what this handler makes of its events, so that they can be rebuilt.
    Raises ValueError on a wrong or repeated declaration.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no consumer name: write app.what_it_does, in lower case.")
    if not on:
        raise ValueError(f"{name!r} listens to nothing: give on=[SomeEvent].")
    if min(concurrency, time_limit, batch) < 1:
        raise ValueError(f"{name!r}: concurrency, time_limit and batch are at least 1.")
    if outside_effects and (takes_list or ordered):
        raise ValueError(f"{name!r}: a handler with outside effects takes one event at a time, as they come.")
    if outside_effects and (projects or start == "beginning"):
        raise ValueError(f"{name!r}: what reaches outside is not built again, nor filled from the archive.")
    kept = [contract.type for contract in on if not contract.announced]
    if kept:
        raise ValueError(f"{name!r}: {', '.join(kept)} is not announced; only its own app reads it, from the archive.")
    if ordered and takes_list:
        raise ValueError(f"{name!r}: an ordered handler takes one event at a time: in a list a failure has no place.")

    def declare(handler: Handler) -> Consumer:
        declared = Consumer(
            name=name,
            on=tuple(on),
            handler=handler,
            retry=retry or Retry(),
            concurrency=concurrency,
            time_limit=time_limit,
            batch=1 if outside_effects else batch,
            takes_list=takes_list,
            ordered=ordered,
            outside_effects=outside_effects,
            start=start,
            tables=tuple(model._meta.db_table for model in projects),
        )
        other = registry.setdefault(name, declared)
        if other is not declared:
            raise ValueError(f"{name!r} is declared twice: {other.handler.__module__} has it. Pick another name.")
        return declared

    return declare


def groups() -> dict[str, list[Consumer]]:
    """The consumers by worker process."""
    found: dict[str, list[Consumer]] = {}
    for declared in registry.values():
        found.setdefault(declared.group, []).append(declared)
    return found
