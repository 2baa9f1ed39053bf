"""The decision alone: no database."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from inventory.allocation import LowStock, Request, StockLevel, decide
from inventory.events import Shortage

PRODUCTS = ("cup", "lamp", "vase")


def wish(**wanted: int) -> Request:
    return Request(uuid4(), wanted)


def test_what_is_there_is_granted() -> None:
    plan = decide([wish(cup=2, lamp=1)], {"cup": StockLevel(2, 0), "lamp": StockLevel(5, 0)})
    assert [decision.granted for decision in plan.decisions] == [True]
    assert plan.taken == {"cup": 2, "lamp": 1}


def test_one_short_line_refuses_the_whole_order() -> None:
    plan = decide([wish(cup=1, lamp=3)], {"cup": StockLevel(5, 0), "lamp": StockLevel(2, 0)})
    assert plan.taken == {}
    assert plan.decisions[0].reason == "insufficient_stock"
    assert plan.decisions[0].shortages == (Shortage(product_id="lamp", requested=3, available=2),)


def test_a_product_nobody_knows_is_its_own_reason() -> None:
    plan = decide([wish(cup=9, ufo=1)], {"cup": StockLevel(5, 0)})
    assert plan.decisions[0].reason == "unknown_product"
    assert plan.decisions[0].shortages == (
        Shortage(product_id="cup", requested=9, available=5),
        Shortage(product_id="ufo", requested=1, available=0),
    )


def test_who_comes_first_is_served_first_and_a_refusal_leaves_its_part_to_the_next() -> None:
    first, greedy, last = wish(cup=3), wish(cup=3), wish(cup=2)
    plan = decide([first, greedy, last], {"cup": StockLevel(5, 0)})
    assert [decision.granted for decision in plan.decisions] == [True, False, True]
    assert plan.taken == {"cup": 5}


def test_a_fall_is_told_once_with_what_is_left_and_who_caused_it() -> None:
    before, crossing, after = wish(cup=1), wish(cup=2), wish(cup=1)
    plan = decide([before, crossing, after], {"cup": StockLevel(12, 10)})
    assert plan.low == [LowStock("cup", available=8, threshold=10, request=crossing)]


def test_what_was_low_before_does_not_fall_again() -> None:
    assert decide([wish(cup=1)], {"cup": StockLevel(9, 10)}).low == []


@given(
    available=st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 20)),
    wishes=st.lists(st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 9), min_size=1), max_size=20),
)
def test_never_more_is_taken_than_is_there_and_never_less_than_was_granted(
    available: dict[str, int], wishes: list[dict[str, int]]
) -> None:
    plan = decide(
        [Request(uuid4(), wanted) for wanted in wishes], {key: StockLevel(n, 5) for key, n in available.items()}
    )
    granted = [decision.request.wanted for decision in plan.decisions if decision.granted]
    for product_id in PRODUCTS:
        assert plan.taken[product_id] == sum(wanted.get(product_id, 0) for wanted in granted)
        assert plan.taken[product_id] <= available.get(product_id, 0)
    for decision in plan.decisions:
        assert decision.granted or all(each.requested > each.available for each in decision.shortages)
