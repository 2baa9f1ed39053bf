from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction

from eventbus.broker.publisher import Outgoing
from eventbus.db.locks import AdvisoryLock
from eventbus.recording.publish import publish
from eventbus.relay.blocked_keys import BlockedKey, Claimed, behind_blocked
from eventbus.relay.claims import CLAIM
from eventbus.relay.relay import COMMIT_WAIT, STAND_BY_WAIT, Relay
from eventbus.tests.samples import ParcelSent


def claim(place: int, aggregate: str, key: str = "parcel.sent.v1", behind: str | None = None) -> Claimed:
    return Claimed(place + 1, aggregate, Outgoing("orders", key, "", {}), behind)


@pytest.mark.parametrize(
    ("aggregates", "refused", "waiting"),
    [
        ("abc", set(), []),
        ("abc", {0, 1, 2}, [0, 1, 2]),
        ("abc", {1}, [1]),
        # What was confirmed behind a refused event of the same aggregate goes again after it.
        ("aab", {0}, [0, 1]),
        ("abab", {2}, [2]),
        ("aaaa", {2}, [2, 3]),
        ("", set(), []),
    ],
)
def test_nothing_leaves_the_outbox_before_an_earlier_event_of_its_aggregate(
    aggregates: str, refused: set[int], waiting: list[int]
) -> None:
    assert list(behind_blocked([claim(place, each) for place, each in enumerate(aggregates)], refused)) == waiting


def test_what_follows_a_refused_event_waits_for_the_same_queue() -> None:
    claimed = [claim(0, "a", "full.v1"), claim(1, "a", "free.v1"), claim(2, "b", "free.v1")]
    assert behind_blocked(claimed, {0}) == {0: "full.v1", 1: "full.v1"}


def test_what_follows_an_event_that_waits_already_waits_too() -> None:
    assert behind_blocked([claim(0, "a", "free.v1", behind="full.v1")], set()) == {0: "full.v1"}


def test_a_refused_key_is_tried_later_each_time_and_never_much_later() -> None:
    key = BlockedKey()
    pauses = [key.refused(taken=0) for _ in range(20)]
    assert 0.25 <= pauses[0] <= 0.5
    assert pauses[3] > 1
    assert 7.5 <= pauses[-1] <= 15
    assert key.window == 1


def test_a_key_that_is_taken_again_is_tried_with_more_each_time() -> None:
    key = BlockedKey()
    key.refused(taken=0)
    windows = []
    for _ in range(12):
        key.accepted(limit=500)
        windows.append(key.window)
    assert windows[:3] == [2, 4, 8]
    assert windows[-1] == 500
    assert key.refused(taken=37) <= 0.25
    assert key.window == 37


@pytest.fixture
def other_relay() -> Iterator[psycopg.Connection]:
    """A second session in a transaction of its own, as another relay has it."""
    settings = connection.get_connection_params()
    names = ("host", "port", "dbname", "user", "password")
    with psycopg.connect(**{name: settings[name] for name in names if name in settings}) as other:
        yield other
        other.rollback()


def record(*parcel_ids: str) -> None:
    for parcel_id in parcel_ids:
        with transaction.atomic():
            publish(ParcelSent(parcel_id=parcel_id))


def claimable(mine: str) -> list[str]:
    """The aggregates, of those whose name begins with `mine`, that a relay gets, in its order."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLAIM, [1000])
        return [row[5] for row in cursor.fetchall() if row[5].startswith(mine)]


@pytest.mark.django_db(transaction=True)
def test_relays_share_the_work_and_keep_the_order_of_each_aggregate(other_relay: psycopg.Connection) -> None:
    mine = f"p-{uuid4()}-"
    a, b = f"{mine}a", f"{mine}b"
    record(a, b, a, b, b)
    first = other_relay.execute(
        "SELECT position FROM outbox WHERE aggregate_id = %s ORDER BY position LIMIT 1 FOR UPDATE", [a]
    ).fetchall()
    assert len(first) == 1

    assert claimable(mine) == [b, b, b]

    other_relay.rollback()
    assert claimable(mine) == [a, b, a, b, b]


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_is_found_though_its_position_is_early(other_relay: psycopg.Connection) -> None:
    mine = f"p-{uuid4()}-"
    event_id = uuid4()
    other_relay.execute("INSERT INTO outbox (event_id, aggregate_id) VALUES (%s, %s)", [event_id, f"{mine}late"])
    other_relay.execute(
        "INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, "
        "data) VALUES (%s, 'parcel.sent', '1.0', 'parcel', %s, 1, now(), 'c', '{}')",
        [event_id, f"{mine}late"],
    )
    record(f"{mine}early")
    assert claimable(mine) == [f"{mine}early"]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox WHERE aggregate_id = %s", [f"{mine}early"])

    other_relay.commit()

    assert claimable(mine) == [f"{mine}late"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("lock", "seconds"),
    [("pg_advisory_xact_lock_shared", COMMIT_WAIT), ("pg_advisory_xact_lock", STAND_BY_WAIT)],
    ids=["beside somebody who is about to commit", "beside an idle relay"],
)
def test_a_relay_looks_again_at_once_only_where_an_event_may_come(
    other_relay: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, lock: str, seconds: float
) -> None:
    other_relay.execute(f"SELECT {lock}({AdvisoryLock.IDLE_RELAY})")
    waits: list[float] = []
    monkeypatch.setattr(Relay, "_listen", lambda _, seconds: waits.append(seconds))

    Relay("amqp://")._wait_for_work()

    assert waits == [seconds]


@pytest.mark.django_db
def test_in_a_rush_a_relay_waits_between_batches_that_are_not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay("amqp://nobody@127.0.0.1:9//", batch=10)
    batches, waits = [3, 10, 4], list[float]()

    def publish_batch() -> int:
        waits.append(0)
        if not batches:
            relay.stop()
            return 0
        return batches.pop(0)

    monkeypatch.setattr(relay, "publish_batch", publish_batch)
    monkeypatch.setattr(relay, "_wait_for_work", lambda: None)
    monkeypatch.setattr(relay.pace, "left", lambda most: 0.05)
    monkeypatch.setattr(relay.stopping, "wait", waits.append)
    relay.run()
    assert waits == [0, 0.05, 0, 0, 0.05, 0]
