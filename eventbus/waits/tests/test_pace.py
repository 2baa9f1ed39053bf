import pytest

from eventbus.relay.relay import LONGEST_PAUSE, PATIENCE
from eventbus.waits import pace
from eventbus.waits.pace import Pace

LONGEST, MOST = 0.25, 100


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(pace, "monotonic", stopped)
    return stopped


def work(
    kept: Pace, clock: Clock, *, rate: int, cost: float = 0, each: float = 0, seconds: float = 5
) -> tuple[int, float]:
    """Events come at a steady rate, and a run that costs so many seconds, and so many for each event, takes all that
    came; returns how many the last run took, and what is the longest that an event waited while no run was at work."""
    taken, longest, end = 0, 0.0, clock.now + seconds
    due = clock.now
    while clock.now < end:
        clock.now = max(clock.now, due)
        free_at = clock.now
        clock.now += kept.left(MOST)
        longest = max(longest, clock.now - free_at)
        taken = max(1, int((clock.now - due) * rate) + 1)
        due += taken / rate
        began = kept.begin()
        clock.now += cost + taken * each
        kept.end(began, taken)
    return taken, longest


@pytest.mark.parametrize("rate", [1, 5, 20, 50])
def test_where_there_is_little_to_do_nothing_waits(clock: Clock, rate: int) -> None:
    assert work(Pace(LONGEST), clock, rate=rate, cost=0.006) == (1, 0)


@pytest.mark.parametrize("orders", [1, 5, 20])
def test_where_there_is_little_to_do_nothing_waits_for_the_relay(clock: Clock, orders: int) -> None:
    """Though it sees seven events of each order."""
    relay = Pace(LONGEST_PAUSE, PATIENCE)
    assert work(relay, clock, rate=7 * orders, cost=0.006)[1] == 0


def test_in_a_rush_the_relay_waits(clock: Clock) -> None:
    assert work(Pace(LONGEST_PAUSE, PATIENCE), clock, rate=7 * 100, cost=0.02)[0] > 50


def test_events_that_take_long_by_themselves_wait_for_no_company(clock: Clock) -> None:
    """It would save them nothing, and in a run of several they go one after the other."""
    slow = Pace(LONGEST)
    work(slow, clock, rate=4, each=0.2)
    assert work(slow, clock, rate=4, each=0.2)[1] == 0


def test_where_runs_for_each_would_take_all_the_time_they_take_more_with_them(clock: Clock) -> None:
    taken, waited = work(Pace(LONGEST), clock, rate=200, cost=0.02)
    assert taken > 20
    assert waited < LONGEST


def test_the_busier_the_longer_up_to_a_limit(clock: Clock) -> None:
    sizes = [work(Pace(LONGEST), clock, rate=rate, cost=0.01)[0] for rate in (50, 100, 200, 400)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] <= 400 * LONGEST + 1


def test_nothing_waits_for_longer_than_a_full_run_needs_to_come(clock: Clock) -> None:
    kept = Pace(LONGEST)
    work(kept, clock, rate=5_000, cost=0.02)
    taken, waited = work(kept, clock, rate=5_000, cost=0.02)
    assert taken >= MOST
    assert waited <= MOST / 5_000


def test_once_the_rush_is_over_nothing_waits(clock: Clock) -> None:
    kept = Pace(LONGEST)
    work(kept, clock, rate=200, cost=0.02)
    clock.now += 3
    assert work(kept, clock, rate=20, cost=0.006) == (1, 0)


def test_one_run_that_takes_long_slows_nothing_down(clock: Clock) -> None:
    """As the first one does, which connects."""
    kept = Pace(LONGEST)
    work(kept, clock, rate=20, cost=1.0, seconds=0.5)
    assert work(kept, clock, rate=20, cost=0.006) == (1, 0)
