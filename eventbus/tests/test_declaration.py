from typing import Any

import pytest

from eventbus.contracts.event import Event
from eventbus.declaration import CONSUMERS, LONGEST_DELAY, OUTSIDE_BATCH, Retry, consumer, consumers_by_group
from eventbus.recording.models import Stream
from eventbus.tests.samples import ParcelSent, ParcelTracked, ParcelWeighed, track


def ignore(event: Any) -> None:
    """A handler for declarations that never run."""


@pytest.mark.parametrize(
    ("name", "options", "advice"),
    [
        ("parcels", {}, "write app.what_it_does"),
        ("Parcel.track", {}, "write app.what_it_does"),
        ("parcel.track.all", {}, "write app.what_it_does"),
        ("parcel.tráck", {}, "write app.what_it_does"),
        ("parcel.new", {"on": []}, "listens to nothing"),
        ("parcel.new", {"concurrency": 0}, "at least 1"),
        ("parcel.new", {"time_limit": 0}, "at least 1"),
        ("parcel.new", {"batch": 0}, "at least 1"),
        ("parcel.new", {"side_effects": True, "batched": True}, "one event at a time"),
        ("parcel.new", {"side_effects": True, "start": "beginning"}, "gets no backfill"),
        ("parcel.new", {"side_effects": True, "tables": [Stream]}, "built again"),
        ("parcel.new", {"on": [ParcelSent, ParcelWeighed]}, r"parcel\.weighed is internal"),
        ("parcel.track", {}, r"declared twice: eventbus\.tests\.samples has it"),
    ],
)
def test_a_wrong_declaration_fails_at_once_and_says_what_to_do(name: str, options: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        consumer(name, **({"on": [ParcelSent]} | options))(ignore)


def test_retry_delays_are_any_seconds_up_to_a_day() -> None:
    assert Retry(delays=(0.5, 2, LONGEST_DELAY)).delays == (0.5, 2, LONGEST_DELAY)
    for wrong in [(), (1, -1), (LONGEST_DELAY + 1,), (float("nan"),)]:
        with pytest.raises(ValueError, match="give at least one, each of 0 to 86400 seconds"):
            Retry(delays=wrong)


def test_a_declared_consumer_is_still_its_function() -> None:
    seen: list[Event] = []
    declared = consumer("parcel.look", on=[ParcelSent])(seen.append)
    event = ParcelSent(parcel_id="p1")

    declared(event)

    assert seen == [event]


def test_a_consumer_is_bound_once_by_each_contract_it_listens_to() -> None:
    class ParcelSentBetter(Event, type="parcel.sent", version="1.1", aggregate="parcel_id"):
        parcel_id: str

    declared = consumer("parcel.look", on=[ParcelSent, ParcelSentBetter, ParcelTracked])(ignore)

    assert declared.routing_keys == ("parcel.sent.v1", "parcel.tracked.v1")


@pytest.mark.parametrize(
    ("batch", "time_limit", "taken"), [(50, 10, OUTSIDE_BATCH), (1, 10, 1), (50, 60, 5), (50, 600, 1)]
)
def test_a_run_takes_few_outside_effects(batch: int, time_limit: int, taken: int) -> None:
    """They go one after the other, and what a worker holds waits for them."""
    declared = consumer("parcel.call", on=[ParcelSent], side_effects=True, batch=batch, time_limit=time_limit)(ignore)
    assert declared.batch == taken


def test_workers_are_grouped_by_the_first_part_of_the_name() -> None:
    other = consumer("depot.count", on=[ParcelSent])(ignore)
    assert consumers_by_group()["depot"] == [other]
    assert track in consumers_by_group()["parcel"]
    assert set(CONSUMERS) == {"parcel.track", "parcel.track_all", "depot.count"}


def test_the_small_consumers_share_a_worker() -> None:
    def handler(event: Any) -> None: ...

    handler.__module__ = "consumers.depots"
    small = consumer("depot.count", on=[ParcelSent])(handler)
    assert small.group == "consumers"
    assert consumers_by_group()["consumers"] == [small]
