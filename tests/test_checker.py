"""The checker of effects, on evidence that is made up."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import pytest

from eventbus import new_id
from tools.harness.effects import MAIL_FOR, Checker, Evidence, Order, Trouble, Verdict
from tools.harness.shop import Shop, Wish

ACCEPTED = 1_800_000_000.0


class Case:
    """A shop with orders that were accepted at the same moment, and what became of each."""

    def __init__(self) -> None:
        self.shop = Shop("http://nowhere.example", "token", channel_id=1)
        self.evidence = Evidence({}, {}, [], {}, [], Counter())

    def order(
        self, *moves: str, after: float = 1.0, mails: bool = True, timed_out: bool = False, product: str = "lamp"
    ) -> Wish:
        """One that went this way, `after` seconds."""
        wish, order_id = Wish(f"{new_id()}@shop.example", {product: 1}, ["CONFIRMED"]), new_id()
        wish.order_id, wish.asked_at, wish.accepted_at = order_id, ACCEPTED - 0.5, ACCEPTED
        self.shop.log.append(wish)
        at, status = datetime.fromtimestamp(ACCEPTED + after, UTC), moves[-1].upper()
        history = [f"order.{move}" for move in ("created", *moves)]
        self.evidence.orders[wish.email] = [Order(order_id, status, at, history, at, timed_out)]
        if status == "CONFIRMED":
            self.evidence.taken[order_id, "RESERVED"] = {product: 1}
        if mails:
            self._mail(wish, order_id, history)
        return wish

    def _mail(self, wish: Wish, order_id: UUID, history: list[str]) -> None:
        kinds = [MAIL_FOR[move] for move in history if move in MAIL_FOR]
        self.evidence.mails[order_id] = [(kind, "SENT", None) for kind in kinds]
        self.evidence.arrived.update((wish.email, kind) for kind in kinds)

    def check(self, *faults: Trouble) -> Verdict:
        return Checker(self.shop, self.evidence).check(faults)


@pytest.fixture
def case() -> Case:
    return Case()


def fault(began: float, until: float, *, is_outage: bool = False, locked: tuple[str, ...] = ()) -> Trouble:
    return Trouble("a fault", ACCEPTED + began, ACCEPTED + until, is_outage, locked)


def test_nothing_is_wrong_with_an_order_that_is_confirmed_and_mailed(case: Case) -> None:
    case.order("confirmed")
    assert case.check().is_clean


def test_an_order_that_was_cancelled_as_timed_out_is_lost(case: Case) -> None:
    wish = case.order("cancelled", timed_out=True)
    verdict = case.check()
    assert verdict.lost == 1
    assert verdict.findings == [
        f"lost: order of {wish.email}: I1: it was cancelled as timed out, though its stock was there"
    ]


def test_an_order_that_its_customer_called_off_has_to_be_cancelled(case: Case) -> None:
    case.order("confirmed", "cancelled").is_cancelled = True
    assert case.check().is_clean
    kept = case.order("confirmed")
    kept.is_cancelled = True
    assert case.check().findings == [f"lost: order of {kept.email}: I1: it is CONFIRMED and should be CANCELLED"]


@pytest.mark.parametrize(("moves", "kind"), [(["confirmed"], "confirmation"), (["cancelled"], "cancellation")])
def test_an_end_without_its_mail_is_a_loss(case: Case, moves: list[str], kind: str) -> None:
    wish = case.order(*moves, mails=False)
    wish.is_cancelled = moves == ["cancelled"]
    assert case.check().findings == [
        f"lost: order of {wish.email}: I4: it is {moves[-1].upper()}, and nobody wrote its {kind}"
    ]


def test_the_longest_wait_is_told_with_what_struck_meanwhile(case: Case) -> None:
    case.order("confirmed", after=2)
    slow = case.order("confirmed", after=9)
    waits = case.check(fault(1, 3), fault(20, 30)).waits
    assert waits is not None
    assert (waits.longest.seconds, waits.longest.customer, waits.longest.during) == (9.0, slow.email, ["a fault"])
    assert waits.longest_otherwise == waits.longest
    assert waits.longest_answer == 0.5


def test_waits_for_a_lock_and_in_an_outage_are_told_apart_from_the_rest(case: Case) -> None:
    case.order("confirmed", after=40, product="chair")
    case.order("confirmed", after=30)
    case.order("confirmed", after=3)
    waits = case.check(fault(0, 35, locked=("chair",)), fault(10, 20, is_outage=True)).waits
    assert waits is not None
    assert (waits.longest.seconds, waits.longest_otherwise.seconds) == (40.0, 3.0)
    assert (waits.behind_a_lock, waits.in_an_outage) == (1, 1)


def test_who_called_an_order_off_did_not_wait_for_its_end(case: Case) -> None:
    wish = case.order("cancelled", after=99)
    wish.is_called_off = wish.is_cancelled = True
    waits = case.check().waits
    assert waits is not None
    assert waits.longest.seconds == 0
