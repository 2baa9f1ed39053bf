from types import SimpleNamespace
from typing import Any

import pytest

from eventbus.broker.topology import REDELIVERY_LIMIT
from eventbus.tests.builders import declare
from eventbus.worker import circuit_breaker
from eventbus.worker.circuit_breaker import PROBES
from eventbus.worker.lanes import KEEP, KEEP_LATER, LATER, Comings, Lane, as_delivery, pool_size, slots


def message(*, redelivered: bool = False, **headers: Any) -> Any:
    """A message as kombu hands it over."""
    return SimpleNamespace(
        body=b"{}",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        properties={},
        delivery_info={"redelivered": redelivered},
        delivery_tag=1,
    )


def lane(*, batch: int = 8, waiting: int = 0) -> Lane:
    opened = Lane(declare(batch=batch), slots=1)
    opened.waiting.extend(range(waiting))
    return opened


def test_a_run_takes_what_waits_up_to_the_batch() -> None:
    busy = lane(batch=8, waiting=10)
    assert busy.take() == list(range(8))
    assert busy.take() == [8, 9]
    assert busy.take() == []


def test_a_lone_event_goes_alone() -> None:
    assert lane(waiting=1).take() == [0]


def test_outside_effects_go_side_by_side() -> None:
    outside = Lane(declare(side_effects=True, batch=8), slots=2)
    outside.waiting.extend(range(21))
    sizes = []
    for outside.running in (0, 1, 0, 1):
        sizes.append(len(outside.take()))
    assert sizes == [8, 8, 3, 2]


def test_what_a_run_did_not_begin_with_goes_first_in_the_next() -> None:
    stopped = lane(batch=4, waiting=6)
    first, second, *rest = stopped.take()
    stopped.take_back(rest, done=2)
    assert (first, second) == (0, 1)
    assert stopped.take() == [2, 3]
    stopped.grow()
    assert stopped.take() == [4, 5]


def test_after_a_run_that_was_held_up_the_next_ones_are_as_large_as_it_came_far_and_grow_again() -> None:
    slow = lane(batch=8, waiting=30)
    slow.take_back(slow.take()[1:], done=1)
    sizes = []
    for _ in range(4):
        sizes.append(len(slow.take()))
        slow.grow()
    assert sizes == [1, 2, 4, 8]


def in_a_rush(rushed: Lane) -> Lane:
    """One whose next run had better wait, so that it takes more with it."""
    for _ in range(50):
        rushed.pace.end(rushed.pace.begin() - 0.04, 1)
    assert rushed.pace.left(rushed.batch) > 0
    return rushed


def test_in_a_rush_the_next_run_waits_unless_it_is_full() -> None:
    rushed = in_a_rush(lane(batch=8, waiting=7))
    assert rushed.pause() > 0
    rushed.add(message())
    assert rushed.pause() == 0


def test_outside_effects_wait_for_no_company() -> None:
    outside = Lane(declare(side_effects=True, batch=8), slots=1)
    in_a_rush(outside)
    outside.add(message())
    assert outside.pause() == 0


def test_in_a_rush_suspects_and_probes_go_at_once() -> None:
    rushed = in_a_rush(lane(waiting=1))
    rushed.breaker.probes = PROBES
    assert rushed.pause() == 0
    rushed.breaker.probes = 0
    assert rushed.pause() > 0
    rushed.add(message(redelivered=True))
    assert rushed.pause() == 0


def test_suspects_go_first_and_one_by_one() -> None:
    suspicious = lane(waiting=2)
    suspicious.alone.extend(["a", "b"])
    assert [suspicious.take() for _ in range(3)] == [["a"], ["b"], [0, 1]]


def test_what_comes_again_and_again_is_counted_though_the_broker_does_not() -> None:
    """RabbitMQ 4.3 takes a delivery back that nobody acknowledged in time, and does not count that."""
    remembered, declared = Comings(), declare()
    for times in range(1, REDELIVERY_LIMIT + 1):
        after_a_reconnect = Lane(declared, slots=1, comings=remembered)
        hanging = message(redelivered=True)
        after_a_reconnect.add(hanging)
        assert as_delivery(hanging).redeliveries == times
    assert as_delivery(hanging).redeliveries >= REDELIVERY_LIMIT

    remembered.forget([hanging])
    again = message(redelivered=True, x_delivery_count=4)
    Lane(declared, slots=1, comings=remembered).add(again)
    assert as_delivery(again).redeliveries == 4


def test_an_empty_message_without_an_id_is_remembered_and_forgotten_like_any() -> None:
    remembered, nothing = Comings(), message(redelivered=True)
    nothing.body = ""
    Lane(declare(), slots=1, comings=remembered).add(nothing)
    remembered.forget([nothing])
    assert not remembered._times


def test_a_failed_batch_is_split_and_the_next_is_smaller_until_runs_go_well_again() -> None:
    troubled = lane(batch=8, waiting=20)
    troubled.split(troubled.take())
    assert [troubled.take() for _ in range(8)] == [[n] for n in range(8)]
    assert troubled.take() == [8, 9, 10, 11]
    troubled.grow()
    assert troubled.take() == list(range(12, 20))
    troubled.grow()
    assert troubled.batch == 8


def test_a_probe_is_the_newest_that_has_not_failed_then_the_oldest_then_what_has() -> None:
    troubled = lane()
    failed, killer = message(x_first_failed_at="2025-03-01T12:00:00+00:00"), message(redelivered=True)
    split, waited, newest = message(), message(), message()
    troubled.alone.extend([killer, split])
    troubled.waiting.extend([waited, newest, failed])
    probes: list[Any] = []
    for probes_left in (2, 1, 2, 1, 2):
        troubled.breaker.probes = probes_left
        assert troubled.has_only_failed == (len(probes) == 4)
        (probe,) = troubled.take()
        probes.append(probe)
    assert probes == [newest, split, waited, killer, failed]
    assert not troubled.has_only_failed


def test_what_nothing_could_be_noted_of_is_kept_and_comes_back_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off, waits = lane(), message()
    waits.delivery_info["queue"] = "parcel.fast"
    assert cut_off.keep(waits) == KEEP
    assert cut_off.take() == []
    assert cut_off.bring_back(waits)
    assert cut_off.take() == [waits]

    waits.delivery_info["kept_since"] -= LATER
    assert cut_off.keep(waits) == KEEP_LATER
    monkeypatch.setattr(circuit_breaker, "PUT_BACK_AFTER", LATER)
    assert not cut_off.bring_back(waits), "it goes back to the broker"
    assert cut_off.take() == []
    # Where the broker refuses it, it runs first, and only then is it put back again.
    cut_off.keep(waits)
    assert cut_off.bring_back(waits)


def test_what_is_put_back_with_all_that_waits_is_not_brought_back() -> None:
    stopped, kept, waiting = lane(), message(), message()
    stopped.waiting.append(waiting)
    stopped.keep(kept)
    assert stopped.empty() == [waiting, kept]
    assert stopped.bring_back(kept)
    assert stopped.take() == []


def test_a_probe_is_another_than_what_is_kept_and_that_costs_it_no_attempt() -> None:
    troubled, kept, fresh = lane(), message(), message()
    troubled.waiting.append(fresh)
    troubled.keep(kept)
    troubled.bring_back(kept)
    troubled.breaker.probes = PROBES
    assert troubled.take() == [fresh]
    assert not troubled.has_only_failed, "so the next probe comes soon"
    assert troubled.take() == [kept]


def test_a_batch_never_shrinks_to_nothing() -> None:
    unlucky = lane(batch=2)
    for _ in range(5):
        unlucky.split([])
    assert unlucky.batch == 1


@pytest.mark.parametrize(
    ("concurrency", "consumers", "processes", "expected"),
    [(50, 1, 2, 2), (1, 1, 8, 1), (50, 2, 2, 1), (50, 3, 8, 6), (5, 3, 8, 5), (50, 4, 2, 1)],
)
def test_each_other_consumer_of_a_worker_keeps_a_process_free(
    concurrency: int, consumers: int, processes: int, expected: int
) -> None:
    assert slots(declare(concurrency=concurrency), consumers, processes) == expected


@pytest.mark.parametrize(
    ("concurrencies", "limit", "expected"),
    [([50], 2, 2), ([1], 8, 1), ([50, 20], 8, 8), ([1, 1, 1], 2, 3), ([2, 3], 8, 5)],
)
def test_a_pool_has_a_process_per_consumer_at_least(concurrencies: list[int], limit: int, expected: int) -> None:
    consumers = [declare(f"parcel.c{n}", concurrency=each) for n, each in enumerate(concurrencies)]
    assert pool_size(consumers, limit) == expected


def test_an_outside_effect_may_have_all_processes() -> None:
    assert pool_size([declare(concurrency=20, side_effects=True)], 4) == 4
    assert pool_size([declare("parcel.a", side_effects=True), declare("parcel.b")], 2) == 3


@pytest.mark.parametrize(("redelivered", "counted"), [(True, 25), (False, 0)])
def test_a_count_of_deliveries_is_the_brokers_only_where_it_delivers_again(redelivered: bool, counted: int) -> None:
    assert as_delivery(message(redelivered=redelivered, x_delivery_count=25)).redeliveries == counted
