"""An outage of what one consumer needs: its queue waits, and nothing else notices. Decision 11."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import TroubleAsked

pytestmark = pytest.mark.live

EVENTS = 300
#: What a window of failures takes, the batch that was split, what ran meanwhile and the probes.
FEW = 40


@pytest.fixture
def broken_bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    """`trouble.obey` fails at every event that says so, until somebody heals it."""
    live_bus.only("relay")
    live_bus.query("INSERT INTO broken VALUES ('what it needs')")
    yield live_bus
    heal(live_bus)


def heal(bus: LiveBus) -> None:
    bus.query("DELETE FROM broken")


def ask(events: int) -> list[UUID]:
    return tell(["raise while broken"] * events)


def tell(hows: list[str]) -> list[UUID]:
    with transaction.atomic():
        return publish(*[TroubleAsked(trouble_id=uuid4(), how=how) for how in hows])


def logged(bus: LiveBus, what: str, worker: str = "worker trouble") -> int:
    return sum(line.get("event") == what for line in bus[worker].log_lines())


def runs(bus: LiveBus) -> int:
    ((found,),) = bus.query("SELECT count(*) FROM run WHERE consumer = 'trouble.obey'")
    return int(found)


def test_an_outage_costs_few_attempts_and_no_letter_and_ends_by_a_probe(broken_bus: LiveBus) -> None:
    tried_before = runs(broken_bus)
    events = ask(EVENTS)
    broken_bus.ensure("worker trouble")
    # The second time is a probe that failed: what comes after it is the breaker's own doing.
    broken_bus.wait_for(lambda: logged(broken_bus, "breaker.opened") >= 2, "a probe to fail")
    assert runs(broken_bus) - tried_before <= FEW
    # Its neighbour in the same worker has long handled them all.
    assert broken_bus.effects("trouble.watch", *events) == EVENTS

    heal(broken_bus)
    broken_bus.wait_for(lambda: logged(broken_bus, "breaker.closed") == 1, "a probe to succeed")
    broken_bus.drain()
    assert broken_bus.effects("trouble.obey", *events) == EVENTS
    assert broken_bus.wire.take_all("trouble.obey.dead") == []
    broken_bus.verify()


POISON, GOOD = ["raise"] * 30, ["succeed"]


@pytest.mark.parametrize(
    "hows",
    [POISON + GOOD * 5, GOOD * 5 + POISON, POISON[:20] + GOOD + POISON[20:], [*POISON, *GOOD] * 2, POISON * 2 + GOOD],
    ids=["behind it", "before it", "among it", "twice behind it", "behind a lot"],
)
def test_a_good_event_does_not_wait_for_poison(live_bus: LiveBus, hows: list[str]) -> None:
    """Thirty events that fail at every attempt look like an outage, until another one is tried."""
    live_bus.only("relay")
    told = dict(zip(tell(hows), hows, strict=True))
    good = [event_id for event_id, how in told.items() if how == "succeed"]
    live_bus.ensure("worker trouble")
    live_bus.wait_for(lambda: live_bus.effects("trouble.obey", *good) == len(good), "the good events", 30)

    (late,) = tell(GOOD)
    live_bus.wait_for(lambda: live_bus.effects("trouble.obey", late) == 1, "one that comes later", 15)

    def are_given_up() -> bool:
        tell(GOOD)  # the traffic goes on
        return live_bus.wire.ready("trouble.obey.dead") == hows.count("raise")

    live_bus.wait_for(are_given_up, "the poison to be given up", 60)
    live_bus.drain()
    letters = live_bus.wire.take_all("trouble.obey.dead")
    assert {letter.headers["x-dead-reason"] for letter in letters} == {"exhausted"}


def test_what_the_database_refuses_of_an_event_is_given_up_at_once_and_is_no_outage(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    bad = tell(["divide by zero", "break a rule"] * 20)
    live_bus.ensure("worker trouble")
    live_bus.wait_for(lambda: live_bus.wire.ready("trouble.obey.dead") == len(bad), "dead letters")
    assert logged(live_bus, "breaker.opened") == 0
    letters = live_bus.wire.take_all("trouble.obey.dead")
    assert {(letter.headers["x-dead-reason"], letter.headers["x-attempt"]) for letter in letters} == {("permanent", 1)}


def test_in_a_long_outage_the_worker_lets_go_of_what_it_holds(broken_bus: LiveBus) -> None:
    """The broker would take it back after half an hour each time, count that, and give it up in the end."""
    events = ask(EVENTS)
    broken_bus.ensure("worker trouble hasty")
    hasty = broken_bus["worker trouble hasty"]
    broken_bus.wait_for(lambda: logged(broken_bus, "events.put_back", hasty.name) == 1, "the first to be put back", 60)
    (put_back,) = [line["events"] for line in hasty.log_lines() if line.get("event") == "events.put_back"]
    assert put_back > 100
    heal(broken_bus)
    broken_bus.drain()
    assert broken_bus.effects("trouble.obey", *events) == EVENTS
    # Nobody tried them, so nothing was used up. What was tried has a second attempt at most, or it was a probe.
    tried_again = "SELECT count(*) FROM processed_event WHERE event_id = ANY(%s) AND attempts > 1"
    assert broken_bus.query(tried_again, events)[0][0] <= FEW
    assert broken_bus.wire.take_all("trouble.obey.dead") == []
    broken_bus.kill9(hasty.name)
