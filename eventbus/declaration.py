"""What a consumer declares: its name, the events it listens to, and how it is run, retried and limited."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from typing_extensions import TypeVar as DefaultTypeVar

from eventbus.conf import bus_settings
from eventbus.contracts.casting import cast, keys_downwards, keys_upwards
from eventbus.contracts.event import Event
from eventbus.contracts.versions import major

if TYPE_CHECKING:
    from django.db.models import Model

#: Seconds that a retry waits at most.
LONGEST_DELAY = 86_400

#: Seconds that a handler has to end in once its time limit is over.
GRACE = 5

NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")

Start = Literal["now", "beginning"]

#: `Consumer` alone is one of whatever events.
E = DefaultTypeVar("E", bound=Event, default=Any)
E1 = TypeVar("E1", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
E4 = TypeVar("E4", bound=Event)
E5 = TypeVar("E5", bound=Event)

#: A handler of one event, and one that takes all events of a run at once.
Handler = Callable[[E], None]
BatchHandler = Callable[[Sequence[E]], None]


@dataclass(frozen=True)
class Retry:
    """How often and how late a failed event is tried again.

    `times` beside the first attempt; `delays` before each, in seconds, the last one repeats; each is up to a fifth
    longer, by chance, so that what failed together does not come back together;
    `max_age` in seconds: an older event is not retried any more; `give_up_on`: errors that never heal.
    """

    times: int = 3
    delays: tuple[float, ...] = (1, 10, 60)
    max_age: int = 3600
    give_up_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not self.delays or not all(0 <= delay <= LONGEST_DELAY for delay in self.delays):
            raise ValueError(f"Retry delays {self.delays}: give at least one, each of 0 to {LONGEST_DELAY} seconds.")


class Options(TypedDict, total=False):
    """What `consumer` takes beside its name and events. See there."""

    retry: Retry | None
    concurrency: int
    time_limit: int
    batch: int
    ordered: bool
    side_effects: bool
    start: Start
    tables: Sequence[type[Model]]


@dataclass(frozen=True)
class Consumer(Generic[E]):
    """A declared consumer. Calling it calls the handler, without the bus.

    `routing_keys` are what its queue is bound by: the versions of its events that it declares, and older ones. `reads`
    has also the newer ones, of which it is sent what its version can say.
    """

    #: Django's templates call whatever can be called.
    do_not_call_in_templates: ClassVar[bool] = True

    name: str
    on: tuple[type[E], ...]
    handler: Callable[[Any], None]
    retry: Retry
    concurrency: int
    time_limit: int
    batch: int
    batched: bool
    ordered: bool
    side_effects: bool
    start: Start
    tables: tuple[str, ...]
    routing_keys: tuple[str, ...] = field(init=False)
    reads: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        bound = dict.fromkeys(key for contract in self.on for key in keys_upwards(contract))
        newer = dict.fromkeys(key for contract in self.on for key in keys_downwards(contract))
        object.__setattr__(self, "routing_keys", tuple(bound))
        object.__setattr__(self, "reads", tuple(bound | newer))

    @property
    def group(self) -> str:
        """The worker process that runs it: its app, or that of all the small ones."""
        if self.handler.__module__.split(".")[0] == bus_settings.SMALL_CONSUMERS:
            return bus_settings.SMALL_CONSUMERS
        return self.name.split(".")[0]

    def contract_for(self, event: Event) -> type[Event]:
        """The version of this event's contract that it declares; the event's own of what it does not hear."""
        return next((contract for contract in self.on if contract.type == event.type), type(event))

    def as_read(self, event: Event) -> Event:
        """The event in the version that it declares. Raises InvalidEvent."""
        return cast(event, self.contract_for(event))

    @property
    def killed_after(self) -> int:
        """Seconds after which a run is killed with its process. At `time_limit` the handler gets an exception."""
        return self.time_limit + GRACE

    @property
    def dead_queue(self) -> str:
        return f"{self.name}.dead"

    def __call__(self, event: E | Sequence[E]) -> None:
        self.handler(event)


#: Every declared consumer by its name.
CONSUMERS: dict[str, Consumer] = {}


# mypy joins the types in a list to their common base, and so would take any handler of Event for `on=[A, B]`. A tuple
# keeps them apart: for `on=(A, B)` the handler's parameter is `A | B`.
@overload
def consumer(
    name: str, *, on: tuple[type[E1], type[E2]], batched: Literal[True], **options: Unpack[Options]
) -> Callable[[BatchHandler[E1 | E2]], Consumer[E1 | E2]]: ...
@overload
def consumer(
    name: str, *, on: tuple[type[E1], type[E2], type[E3]], batched: Literal[True], **options: Unpack[Options]
) -> Callable[[BatchHandler[E1 | E2 | E3]], Consumer[E1 | E2 | E3]]: ...
@overload
def consumer(
    name: str, *, on: tuple[type[E1], type[E2], type[E3], type[E4]], batched: Literal[True], **options: Unpack[Options]
) -> Callable[[BatchHandler[E1 | E2 | E3 | E4]], Consumer[E1 | E2 | E3 | E4]]: ...
@overload
def consumer(
    name: str,
    *,
    on: tuple[type[E1], type[E2], type[E3], type[E4], type[E5]],
    batched: Literal[True],
    **options: Unpack[Options],
) -> Callable[[BatchHandler[E1 | E2 | E3 | E4 | E5]], Consumer[E1 | E2 | E3 | E4 | E5]]: ...
@overload
def consumer(
    name: str, *, on: Sequence[type[E]], batched: Literal[True], **options: Unpack[Options]
) -> Callable[[BatchHandler[E]], Consumer[E]]: ...
@overload
def consumer(
    name: str, *, on: tuple[type[E1], type[E2]], batched: Literal[False] = False, **options: Unpack[Options]
) -> Callable[[Handler[E1 | E2]], Consumer[E1 | E2]]: ...
@overload
def consumer(
    name: str, *, on: tuple[type[E1], type[E2], type[E3]], batched: Literal[False] = False, **options: Unpack[Options]
) -> Callable[[Handler[E1 | E2 | E3]], Consumer[E1 | E2 | E3]]: ...
@overload
def consumer(
    name: str,
    *,
    on: tuple[type[E1], type[E2], type[E3], type[E4]],
    batched: Literal[False] = False,
    **options: Unpack[Options],
) -> Callable[[Handler[E1 | E2 | E3 | E4]], Consumer[E1 | E2 | E3 | E4]]: ...
@overload
def consumer(
    name: str,
    *,
    on: tuple[type[E1], type[E2], type[E3], type[E4], type[E5]],
    batched: Literal[False] = False,
    **options: Unpack[Options],
) -> Callable[[Handler[E1 | E2 | E3 | E4 | E5]], Consumer[E1 | E2 | E3 | E4 | E5]]: ...
@overload
def consumer(
    name: str, *, on: Sequence[type[E]], batched: Literal[False] = False, **options: Unpack[Options]
) -> Callable[[Handler[E]], Consumer[E]]: ...
def consumer(
    name: str,
    *,
    on: Sequence[type[Any]],
    retry: Retry | None = None,
    concurrency: int = 10,
    time_limit: int = 30,
    batch: int = 100,
    batched: bool = False,
    ordered: bool = False,
    side_effects: bool = False,
    start: Start = "now",
    tables: Sequence[type[Model]] = (),
) -> Callable[[Callable[[Any], None]], Consumer]:
    """Declare a consumer. Its name is queue, task and inbox key at once, and never changes.

    `concurrency`: pool processes at most; `time_limit`: seconds for one event; `batch`: how many waiting events share a
    transaction at most (1: never); `batched`: the handler takes the whole list and works set-wise;
    `ordered`: the events of an aggregate are handled in their order, whatever fails or comes twice (costs a few
    statements per batch and a row per aggregate);
    `side_effects`: the handler reaches outside the database. It then runs alone and outside the bus's transaction,
    must claim its work itself, and is left out of replays unless named;
    `start`: "beginning" gives a new consumer a backfill: every event of the archive before it goes over to live ones;
    `tables`: the tables that hold nothing but what this handler makes of its events, so that they can be rebuilt.
    Several events: give `on` as a tuple, and annotate the handler with their union. Raises ValueError on a wrong or
    repeated declaration.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid consumer name: write app.what_it_does, in lower case.")
    if not on:
        raise ValueError(f"{name!r} listens to nothing: give on=[SomeEvent].")
    if min(concurrency, time_limit, batch) < 1:
        raise ValueError(f"{name!r}: concurrency, time_limit and batch are at least 1.")
    if side_effects and (batched or ordered):
        raise ValueError(f"{name!r}: a handler with side effects takes one event at a time, as they come.")
    if side_effects and (tables or start == "beginning"):
        raise ValueError(f"{name!r}: what reaches outside is not built again, and gets no backfill.")
    kept = [contract.type for contract in on if contract.internal]
    if kept:
        raise ValueError(f"{name!r}: {', '.join(kept)} is internal: only its own app reads it, from the archive.")
    versions = {(contract.type, major(contract.version)) for contract in on}
    if len({event_type for event_type, _ in versions}) < len(versions):
        raise ValueError(f"{name!r} names two versions of one event: name the newest, and older ones are made into it.")
    if ordered and batched:
        raise ValueError(f"{name!r}: an ordered handler takes one event at a time: in a list a failure has no place.")

    def declare(handler: Callable[[Any], None]) -> Consumer:
        declared: Consumer = Consumer(
            name=name,
            on=tuple(on),
            handler=handler,
            retry=retry or Retry(),
            concurrency=concurrency,
            time_limit=time_limit,
            batch=1 if side_effects else batch,
            batched=batched,
            ordered=ordered,
            side_effects=side_effects,
            start=start,
            tables=tuple(model._meta.db_table for model in tables),
        )
        other = CONSUMERS.setdefault(name, declared)
        if other is not declared:
            raise ValueError(f"{name!r} is declared twice: {other.handler.__module__} has it. Pick another name.")
        return declared

    return declare


def consumers_by_group() -> dict[str, list[Consumer]]:
    """The consumers by worker process."""
    found: dict[str, list[Consumer]] = {}
    for declared in CONSUMERS.values():
        found.setdefault(declared.group, []).append(declared)
    return found
