"""The circuit breaker, without a worker: outcomes in, decisions out."""

from itertools import pairwise

from eventbus.worker.circuit_breaker import (
    FIRST_PAUSE,
    LONGEST_PATIENCE,
    LONGEST_PAUSE,
    PUT_BACK_AFTER,
    WINDOW,
    CircuitBreaker,
)


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(WINDOW):
        breaker.record(bad=1)
    assert breaker.is_open
    return breaker


def test_it_opens_once_when_nearly_all_of_a_window_failed() -> None:
    breaker = CircuitBreaker()
    breaker.record(good=1)
    assert [breaker.record(bad=1) for _ in range(WINDOW)].count(True) == 1
    assert not breaker.lets_pass(running=0)


def test_a_few_failures_or_one_in_four_leave_it_closed() -> None:
    breaker = CircuitBreaker()
    assert not any(breaker.record(bad=1) for _ in range(WINDOW - 1))
    for _ in range(WINDOW):
        assert not breaker.record(good=3)
        assert not breaker.record(bad=1)
    assert breaker.lets_pass(running=5)


def test_a_good_batch_counts_for_all_its_events() -> None:
    breaker = CircuitBreaker()
    for _ in range(WINDOW - 1):
        breaker.record(bad=1)
    breaker.record(good=100)
    assert not breaker.record(bad=1)


def test_after_a_success_only_what_fails_for_the_first_time_counts() -> None:
    breaker = CircuitBreaker()
    breaker.record(good=1)
    assert not any(breaker.record(bad=1, failed_before=True) for _ in range(100))
    assert any(breaker.record(bad=1) for _ in range(WINDOW))


def test_where_nothing_has_succeeded_every_failure_counts() -> None:
    breaker = CircuitBreaker()
    assert any(breaker.record(bad=1, failed_before=True) for _ in range(WINDOW))


def test_half_open_lets_one_probe_through_at_a_time_and_a_second_where_it_fails() -> None:
    breaker = opened()
    breaker.end_pause(only_failed=False)
    assert breaker.lets_pass(running=0)
    assert not breaker.lets_pass(running=1)
    assert not breaker.record(bad=1)
    assert breaker.lets_pass(running=0)
    assert breaker.record(bad=1)
    assert not breaker.lets_pass(running=0)


def test_a_good_probe_closes_it_and_forgets_the_failures() -> None:
    breaker = opened()
    breaker.end_pause(only_failed=False)
    breaker.record(bad=1)
    breaker.record(good=1)
    assert breaker.lets_pass(running=3)
    assert not breaker.record(bad=1)
    assert breaker.pause == FIRST_PAUSE


def test_each_bad_round_doubles_the_pause_up_to_the_longest() -> None:
    breaker = opened()
    pauses = [breaker.pause]
    for _ in range(5):
        breaker.end_pause(only_failed=False)
        breaker.record(bad=1)
        assert breaker.record(bad=1)
        pauses.append(breaker.pause)
    assert pauses == [FIRST_PAUSE, 2, 4, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_with_only_what_failed_before_the_probes_become_rare_until_something_else_comes() -> None:
    breaker = opened()
    seconds = 0.0
    probed_after: list[float] = []
    while seconds < 300:
        seconds += breaker.pause
        breaker.end_pause(only_failed=True)
        if breaker.is_half_open:
            assert breaker.record(bad=1, failed_before=True)
            probed_after.append(seconds)
    between = [later - earlier for earlier, later in pairwise(probed_after)]
    assert between[:3] == [2, 4, 10]
    assert max(between) == between[-1] == LONGEST_PATIENCE
    assert breaker.pause == LONGEST_PAUSE
    breaker.end_pause(only_failed=False)
    assert breaker.is_half_open


def test_what_began_before_it_opened_does_not_decide() -> None:
    breaker = opened()
    assert not breaker.record(bad=1)
    breaker.record(good=1)
    assert not breaker.lets_pass(running=0)


def test_what_waits_is_let_go_when_it_has_been_open_for_long() -> None:
    breaker = opened()
    seconds = 0.0
    while not breaker.is_open_for_long:
        seconds += breaker.pause
        breaker.end_pause(only_failed=True)
        breaker.record(bad=1)
    assert PUT_BACK_AFTER <= seconds < PUT_BACK_AFTER + LONGEST_PAUSE
    breaker.end_pause(only_failed=False)
    breaker.record(good=1)
    assert not breaker.is_open_for_long
