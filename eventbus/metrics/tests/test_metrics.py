"""Metrics: counted in memory, kept in one table, and never counted twice."""

import os

import pytest
from django.db import DatabaseError

from eventbus.metrics import declaration, totals
from eventbus.metrics.declaration import Counter, Histogram, counter, gauge, histogram

pytestmark = pytest.mark.django_db(transaction=True)

PARCELS = Counter("parcels_total", "Parcels.", ("country",))
WEIGHT = Histogram("parcel_kilos", "Their weight.", (), bounds=(1.0, 10.0))


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    totals.flush()
    totals._counted.clear()


def test_what_is_counted_is_added_to_what_was() -> None:
    PARCELS.add(2, "FR")
    totals.flush()
    PARCELS.add(1, "FR")
    PARCELS.add(1, "DE")
    totals.flush()
    totals.flush()
    assert {key: value for key, value in totals.read().items() if key[0] == "parcels_total"} == {
        ("parcels_total", "FR", ""): 3,
        ("parcels_total", "DE", ""): 1,
    }


def test_a_size_counts_in_every_bucket_that_holds_it() -> None:
    for kilos in (0.5, 10.0, 20.0):
        WEIGHT.observe(kilos)
    totals.flush()
    found = {part: value for (name, _, part), value in totals.read().items() if name == "parcel_kilos"}
    assert found == {"1.0": 1, "10.0": 2, "+Inf": 3, "sum": 30.5}


def test_what_the_database_did_not_take_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("away")

    PARCELS.add(1, "FR")
    with monkeypatch.context() as patched:
        patched.setattr(totals, "fetch", away)
        with pytest.raises(DatabaseError):
            totals.flush()
    PARCELS.add(1, "FR")
    totals.flush()
    assert totals.read()["parcels_total", "FR", ""] == 2


def test_a_child_does_not_count_what_its_parent_has() -> None:
    PARCELS.add(1, "FR")
    child = os.fork()
    if not child:
        os._exit(len(totals._counted))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert totals._counted[PARCELS.key(["FR"])] == 1


@pytest.mark.parametrize("values", [(), ("FR", "DE"), ("two words",), ("",)])
def test_labels_that_do_not_match_are_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="labels"):
        PARCELS.add(1, *values)


def test_a_wrong_or_repeated_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declaration, "METRICS", {})
    with pytest.raises(ValueError, match="call it"):
        counter("parcels", "Parcels.")
    histogram("parcel_kilos", "Kilos.")
    with pytest.raises(ValueError, match="twice"):
        gauge("parcel_kilos", "Kilos.")(dict)
    with pytest.raises(ValueError, match="a-z"):
        gauge("Parcel-kilos", "Kilos.")(dict)
