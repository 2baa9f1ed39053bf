"""Which copies of blocked events may go to which queue."""

from collections.abc import Iterator

import pytest

from eventbus.broker.publisher import Outgoing
from eventbus.declaration import CONSUMERS
from eventbus.relay.blocked_keys import Claimed
from eventbus.relay.full_queues import Copy, deal, refused_copies
from eventbus.tests.builders import declare

KEY = "parcel.sent.v1"


@pytest.fixture(autouse=True)
def two_listeners() -> Iterator[None]:
    kept = dict(CONSUMERS)
    CONSUMERS.clear()
    declare("parcel.one")
    declare("parcel.two")
    yield
    CONSUMERS.clear()
    CONSUMERS.update(kept)


def claims(aggregates: str) -> list[Claimed]:
    return [Claimed(place + 1, each, Outgoing("events", KEY, "", {})) for place, each in enumerate(aggregates)]


def test_each_queue_with_room_gets_a_copy() -> None:
    go, stay = deal(claims("ab"), [0, 1], {"parcel.two"}, {})
    assert go == [Copy(0, "parcel.one"), Copy(1, "parcel.one")]
    assert stay == [Copy(0, "parcel.two"), Copy(1, "parcel.two")]


def test_a_queue_that_lacks_an_earlier_event_of_the_aggregate_waits_for_that_first() -> None:
    go, stay = deal(claims("ab"), [0, 1], set(), {"a": {"parcel.two"}})
    assert go == [Copy(0, "parcel.one"), Copy(1, "parcel.one"), Copy(1, "parcel.two")]
    assert stay == [Copy(0, "parcel.two")]


def test_what_was_taken_behind_a_refused_copy_goes_again_behind_it() -> None:
    copies = [Copy(0, "parcel.one"), Copy(1, "parcel.one"), Copy(1, "parcel.two"), Copy(2, "parcel.one")]
    assert refused_copies(claims("aab"), copies, {1, 2, 3}) == [Copy(0, "parcel.one"), Copy(1, "parcel.one")]


def test_nothing_goes_twice_where_all_was_taken() -> None:
    copies = [Copy(0, "parcel.one"), Copy(1, "parcel.one")]
    assert refused_copies(claims("aa"), copies, {0, 1}) == []
