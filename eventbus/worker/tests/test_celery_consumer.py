"""When runs begin, and what becomes of the deliveries of one that stopped before its end, or is held up."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import bootsteps

from eventbus.tests.builders import declare
from eventbus.waits.pace import Pace
from eventbus.worker.celery_consumer import BusConsumer
from eventbus.worker.circuit_breaker import PROBES, WINDOW
from eventbus.worker.lanes import LONGEST_PAUSE, Lane, Run
from eventbus.worker.outside import Stopped
from eventbus.worker.processing import Failed, Postponed, Unsettled
from eventbus.worker.turns import turns


class Message(SimpleNamespace):
    """A message as kombu hands it over; it remembers what was done with it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name=name,
            body=b"{}",
            headers={},
            properties={"message_id": name},
            delivery_info={"redelivered": False},
            is_acknowledged=False,
            is_rejected=False,
        )

    def ack_log_error(self, *_: Any) -> None:
        self.is_acknowledged = True

    def reject_log_error(self, *_: Any, requeue: bool) -> None:
        self.is_rejected = True


@pytest.fixture
def later() -> list[Callable[[], None]]:
    """What the worker's timer is to do."""
    return []


@pytest.fixture
def worker(later: list[Callable[[], None]]) -> Any:
    """A worker's consumer without a broker and a pool."""
    made = BusConsumer.__new__(BusConsumer)
    made.connection_errors = ()
    made.timer = SimpleNamespace(call_after=lambda seconds, what, args=(): later.append(lambda: what(*args)))
    return made


def go_on(worker: BusConsumer, failure: Failed | None) -> tuple[Lane, list[Message]]:
    """A run of five did two, then this became of the third."""
    lane = Lane(declare(side_effects=True, batch=5), slots=1)
    lane.waiting.append(Message("later"))
    messages = [Message(str(number)) for number in range(5)]
    worker._go_on_behind(lane, messages, Stopped(2, failure))
    return lane, messages


def acknowledged(messages: list[Message]) -> list[str]:
    return [each.name for each in messages if each.is_acknowledged]


def waiting(lane: Lane) -> list[str]:
    return [each.name for each in lane.waiting]


def test_what_is_settled_is_acknowledged_and_the_rest_goes_on(worker: BusConsumer) -> None:
    lane, messages = go_on(worker, Postponed("away", may_be_outage=True))
    assert acknowledged(messages) == ["0", "1", "2"]
    assert waiting(lane) == ["3", "4", "later"]
    assert list(lane.breaker.outcomes) == [True, True, False]


def test_what_is_not_noted_anywhere_is_kept(worker: BusConsumer, later: list[Callable[[], None]]) -> None:
    lane, messages = go_on(worker, Unsettled("no database", may_be_outage=True))
    assert acknowledged(messages) == ["0", "1"]
    assert lane.kept == [messages[2]]
    assert len(later) == 1
    assert waiting(lane) == ["3", "4", "later"]


def test_where_time_was_up_nothing_failed(worker: BusConsumer) -> None:
    lane, messages = go_on(worker, None)
    assert acknowledged(messages) == ["0", "1"]
    assert waiting(lane) == ["2", "3", "4", "later"]
    assert list(lane.breaker.outcomes) == [True, True]


def test_what_went_well_before_the_rest_failed_closes_no_breaker(worker: BusConsumer) -> None:
    """The probes do: this run began before the breaker opened."""
    lane = Lane(declare(side_effects=True, batch=5), slots=2)
    lane.breaker.is_open, lane.breaker.probes = True, PROBES
    worker._go_on_behind(lane, [Message(str(number)) for number in range(5)], Stopped(2, None))
    assert lane.breaker.is_half_open


class Pool:
    """Where runs go that a worker starts; the test does their work."""

    def __init__(self, worker: Any, lane: Lane) -> None:
        self.runs: list[Run] = []
        #: Whether what is started waits for a process.
        self.is_busy = False
        self._ends: list[Callable[..., None]] = []
        worker.blueprint = SimpleNamespace(state=bootsteps.RUN)
        worker.lanes = {lane.consumer.name: lane}
        worker.on_task_message = ()
        worker.strategies = {lane.consumer.name: self.start}

    def start(self, run: Run, _: None, ack: Any, reject: Any, callbacks: Any) -> None:
        self.runs.append(run)
        self._ends.append(lambda stopped: reject(None, ()) if stopped else ack(None, ()))
        if not self.is_busy:
            run.is_taken_up()

    def begin(self, place: int) -> bool:
        """Whether the process of this run may begin with its next event."""
        return turns.take(self.runs[place].payload["kwargs"]["pipe"])

    def end(self, place: int, stopped: Stopped | None = None) -> None:
        self.runs[place].stopped = stopped
        self._ends[place](stopped)

    def die(self, place: int) -> None:
        self._ends[place](True)

    @property
    def names(self) -> list[list[str]]:
        return [[each.name for each in run.messages] for run in self.runs]


@pytest.fixture
def started(worker: BusConsumer) -> Iterator[tuple[Lane, list[Message], Pool]]:
    """Six deliveries in two runs of outside effects."""
    turns.open(3)
    lane = Lane(declare(side_effects=True, batch=5), slots=2)
    pool = Pool(worker, lane)
    messages = [Message(str(number)) for number in range(6)]
    lane.waiting.extend(messages)
    worker._dispatch(lane)
    assert pool.names == [["0", "1", "2"], ["3", "4", "5"]]
    yield lane, messages, pool
    turns.end_all()


def test_what_a_run_that_is_held_up_has_not_begun_goes_to_whoever_is_free(
    started: tuple[Lane, list[Message], Pool], later: list[Callable[[], None]]
) -> None:
    _, messages, pool = started
    assert [pool.begin(1), pool.begin(1)] == [True] * 2
    pool.end(1)
    for when in list(later):
        when()
    # One at a time, until it is known that they are quick.
    assert pool.names == [["0"], ["3", "4", "5"], ["1"]]
    pool.end(2)
    pool.end(3)
    assert acknowledged(messages) == ["1", "2", "3", "4", "5"]
    assert not pool.begin(0)
    pool.end(0, Stopped(1, None))
    assert acknowledged(messages) == ["0", "1", "2", "3", "4", "5"]


def test_what_it_has_begun_with_may_fail_for_itself(
    started: tuple[Lane, list[Message], Pool], later: list[Callable[[], None]]
) -> None:
    lane, messages, pool = started
    assert pool.begin(0)
    later[0]()
    assert waiting(lane) == ["2"]
    pool.end(0, Stopped(1, Postponed("away", may_be_outage=True)))
    assert acknowledged(messages) == ["0", "1"]
    assert pool.names == [["0", "1"], ["3", "4", "5"], ["2"]]


def test_a_process_that_dies_is_counted_against_the_one_event_that_it_had_begun(
    started: tuple[Lane, list[Message], Pool], later: list[Callable[[], None]]
) -> None:
    _, messages, pool = started
    later[0]()
    pool.die(0)
    assert [each.name for each in messages if each.is_rejected] == ["0"]
    assert pool.names[2] == ["1"]


def test_a_run_for_which_no_process_is_free_keeps_what_it_has(worker: BusConsumer, later: list[Any]) -> None:
    """Or it would lose all of it again and again, and begin with none, while other lanes have the processes."""
    lane = Lane(declare(side_effects=True, batch=5), slots=1)
    pool = Pool(worker, lane)
    pool.is_busy = True
    lane.waiting.extend(Message(str(number)) for number in range(3))
    worker._dispatch(lane)
    assert pool.names == [["0", "1", "2"]]
    assert later == []


def test_behind_an_open_breaker_a_run_puts_off_what_it_has_not_begun_and_a_probe_is_another_single_one(
    started: tuple[Lane, list[Message], Pool], later: list[Callable[[], None]]
) -> None:
    lane, messages, pool = started
    lane.breaker.outcomes.extend([False] * (WINDOW - 1))
    later.clear()
    pool.end(0, Stopped(0, Postponed("away", may_be_outage=True)))
    assert lane.breaker.is_open
    assert acknowledged(messages) == ["0"]
    pool.end(1, Stopped(0, None))
    assert sorted(waiting(lane)) == ["1", "2", "3", "4", "5"]
    assert len(pool.runs) == 2

    (end_of_pause,) = later
    end_of_pause()
    ((probe,),) = pool.names[2:]
    assert probe != "0"
    pool.end(2)
    assert not lane.breaker.is_open
    assert [len(each) for each in pool.names[3:]] == [2, 2]


def test_in_a_rush_the_next_run_is_put_off_once_and_takes_what_came_meanwhile(
    worker: BusConsumer, later: list[Callable[[], None]]
) -> None:
    lane = Lane(declare(batch=5), slots=1)
    pool = Pool(worker, lane)
    for _ in range(50):
        lane.pace.end(lane.pace.begin() - 0.04, 1)
    for name in "abc":
        lane.add(Message(name))
        worker._dispatch(lane)
    assert pool.names == []
    (go,) = later
    lane.pace = Pace(LONGEST_PAUSE)
    go()
    assert pool.names == [["a", "b", "c"]]


def test_what_was_put_off_stays_with_the_broker_where_the_worker_ends_meanwhile(
    worker: BusConsumer, later: list[Callable[[], None]]
) -> None:
    lane = Lane(declare(batch=5), slots=1)
    pool = Pool(worker, lane)
    lane.add(Message("a"))
    worker._dispatch_after(lane, 0.1)
    worker.blueprint.state = bootsteps.CLOSE
    later[0]()
    assert pool.names == []
