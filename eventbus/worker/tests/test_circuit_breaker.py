"""The circuit breaker, without a worker: outcomes in, decisions out."""

from eventbus.worker.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, PROBES_PER_PAUSE, WINDOW, CircuitBreaker


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


def test_half_open_lets_one_probe_through_at_a_time() -> None:
    breaker = opened()
    breaker.half_open()
    assert breaker.lets_pass(running=0)
    assert not breaker.lets_pass(running=1)


def test_a_good_probe_closes_it_and_forgets_the_failures() -> None:
    breaker = opened()
    breaker.half_open()
    breaker.record(good=1)
    assert breaker.lets_pass(running=3)
    assert not breaker.record(bad=1)
    assert breaker.pause == FIRST_PAUSE


def test_each_bad_probe_doubles_the_pause_up_to_the_longest() -> None:
    breaker = opened()
    pauses = []
    for _ in range(6):
        breaker.half_open()
        assert breaker.record(bad=1)
        assert not breaker.lets_pass(running=0)
        pauses.append(breaker.pause)
    assert pauses == [10, 20, 40, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_began_before_it_opened_does_not_decide() -> None:
    breaker = opened()
    assert not breaker.record(bad=1)
    breaker.record(good=1)
    assert not breaker.lets_pass(running=0)


def test_what_waits_is_let_go_after_ten_bad_probes_and_after_ten_more() -> None:
    breaker = opened()
    assert not breaker.is_open_for_long
    long: list[int] = []
    for probe in range(1, 2 * PROBES_PER_PAUSE + 1):
        breaker.half_open()
        breaker.record(bad=1)
        long += [probe] if breaker.is_open_for_long else []
    assert long == [PROBES_PER_PAUSE, 2 * PROBES_PER_PAUSE]
    breaker.half_open()
    breaker.record(good=1)
    assert not breaker.is_open_for_long
