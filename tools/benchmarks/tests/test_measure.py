from collections.abc import Callable

from tools.benchmarks.measure import Result, alternate, percentile


def test_a_ratio_is_better_when_higher_whatever_the_unit() -> None:
    assert Result("rate", ours=200, baseline=100, unit="orders/s").ratio == 2
    assert Result("time", ours=200, baseline=100, unit="ms", less_is_better=True).ratio == 0.5


def test_it_says_whether_what_was_wanted_holds() -> None:
    assert Result("rate", 70, 100, "events/s", wanted=0.7).as_json()["holds"] is True
    assert Result("rate", 69, 100, "events/s", wanted=0.7).as_json()["holds"] is False
    assert Result("rate", 69, 100, "events/s").as_json()["holds"] is None


def test_the_sides_take_turns_and_neither_is_always_first() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], str]:
        def measure() -> str:
            order.append(name)
            return name

        return measure

    assert alternate(3, side("a"), side("b")) == [["a"] * 3, ["b"] * 3]
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3, 1, 2, 4], 50) == 3
    assert percentile([1, 2], 99) == 2
    assert percentile([7], 50) == 7
