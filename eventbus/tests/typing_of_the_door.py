"""Type tests of the door, for mypy alone: what must pass, and what it must refuse.

They work because strict mypy warns of an `ignore` that it doesn't need: a wrong use that passes one day turns it red.
"""

from collections.abc import Sequence
from typing import assert_type

from eventbus import Consumer, Event, PermanentFailure, consumer, expect_version, invariant, lock_streams, publish
from eventbus.archive import archived, done_by
from eventbus.testing import deliver, delivered, published


class Baked(Event, type="cake.baked", version="1.0", aggregate="cake"):
    cake: str


class Eaten(Event, type="cake.eaten", version="1.0", aggregate="cake"):
    cake: str


class NoEvent:
    cake = "none"


# A handler takes the event that its consumer listens to, a wider one, or the union of several.
@consumer("cake.praise", on=[Baked])
def praise(event: Baked) -> None: ...


@consumer("cake.look_at_all", on=[Baked])
def look_at_all(event: Event) -> None: ...


@consumer("cake.count", on=(Baked, Eaten))
def count(event: Baked | Eaten) -> None: ...


@consumer("cake.count_at_once", on=(Baked, Eaten), batched=True)
def count_at_once(events: Sequence[Baked | Eaten]) -> None: ...


assert_type(praise, Consumer[Baked])
assert_type(count, Consumer[Baked | Eaten])
assert_type(count_at_once, Consumer[Baked | Eaten])


@consumer("cake.wrong_event", on=[Baked])  # type: ignore[arg-type]
def wrong_event(event: Eaten) -> None: ...


@consumer("cake.half_of_the_union", on=(Baked, Eaten))  # type: ignore[arg-type]
def half_of_the_union(event: Baked) -> None: ...


@consumer("cake.single_for_batched", on=[Baked], batched=True)  # type: ignore[arg-type]
def single_for_batched(event: Baked) -> None: ...


@consumer("cake.batched_for_single", on=[Baked])  # type: ignore[arg-type]
def batched_for_single(events: Sequence[Baked]) -> None: ...


@consumer("cake.list_for_sequence", on=[Baked], batched=True)  # type: ignore[arg-type]
def list_for_sequence(events: list[Baked]) -> None: ...


@consumer("cake.answer", on=[Baked])  # type: ignore[arg-type]
def answer(event: Baked) -> int:
    return 1


@consumer("cake.no_event", on=[NoEvent])  # type: ignore[type-var]
def no_event(event: NoEvent) -> None: ...


@consumer("cake.no_option", on=[Baked], retries=3)  # type: ignore[call-overload, untyped-decorator]
def no_option(event: Baked) -> None: ...


@consumer("cake.no_start", on=[Baked], start="yesterday")  # type: ignore[call-overload, untyped-decorator]
def no_start(event: Baked) -> None: ...


def called_without_the_bus(baked: Baked, eaten: Eaten) -> None:
    praise(baked)
    praise([baked])
    count(eaten)
    praise(eaten)  # type: ignore[arg-type]
    praise("cake")  # type: ignore[arg-type]


def published_and_read(baked: Baked) -> None:
    publish(baked, Eaten(cake="a"), caused_by=baked)
    publish(NoEvent())  # type: ignore[arg-type]
    publish(Baked)  # type: ignore[arg-type]
    lock_streams(["a"], having=Baked)
    lock_streams(["a"], having=baked)  # type: ignore[arg-type]
    expect_version(Baked, "a", 1)
    expect_version(Baked, "a", "1")  # type: ignore[arg-type]
    archived(Baked, Eaten)
    archived("cake.baked")  # type: ignore[arg-type]
    done_by(praise)
    done_by("cake.praise")  # type: ignore[arg-type]


def delivered_in_tests(baked: Baked) -> None:
    assert_type(deliver(baked, to=praise), int)
    deliver([baked, baked], to=praise)
    deliver([baked, Eaten(cake="a")], to=count)
    deliver(baked, to="cake.praise")  # type: ignore[arg-type]
    deliver(NoEvent(), to=praise)  # type: ignore[arg-type]
    assert_type(delivered(baked), Baked)
    assert_type(published(Eaten), list[Eaten])


@invariant("I9", "every cake is eaten")
def left_over() -> list[str]:
    return []


@invariant("I9", "a check lists what breaks it")  # type: ignore[arg-type]
def counts_instead() -> int:
    return 0


def give_up() -> None:
    raise PermanentFailure("no flour")
