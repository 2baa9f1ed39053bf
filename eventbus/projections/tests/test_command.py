"""`manage.py rebuild_projection`, as people and machines see it."""

import json
from io import StringIO
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from eventbus.projections import driver
from eventbus.tests.projections import also, content, fill_shelves, handled, listen, send, somebody_reads
from eventbus.tests.samples import ParcelSent
from eventbus.worker import inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("projected_tables")]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("rebuild_projection", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def spoil() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shelf SET weight = weight + 0.5 WHERE name = 'a'")
        cursor.execute("DELETE FROM shelf WHERE name = 'b'")
        cursor.execute("INSERT INTO shelf VALUES ('z', 7, 1)")


def test_a_bug_in_a_view_is_seen_removed_and_taken_back() -> None:
    handled("a1", "a2", "b1")
    spoil()
    with pytest.raises(SystemExit) as ended:
        run("parcel.fill_shelves", "--diff")
    assert ended.value.code == 1
    assert "parcel.fill_shelves stood still" in run("parcel.fill_shelves").replace("\n", " ")
    assert run("parcel.fill_shelves", "--diff") == "shelf: no difference.\n"
    run("parcel.fill_shelves", "--back")
    assert content(fill_shelves) == b"a\t2\t3.50\nz\t7\t1\n"
    assert run("parcel.fill_shelves", "--drop-old") == "old_parcel_fill_shelves is removed.\n"
    assert run("parcel.fill_shelves", "--abandon") == "rebuild_parcel_fill_shelves is removed.\n"
    assert run("parcel.fill_shelves", "--abandon") == "There is no rebuild_parcel_fill_shelves.\n"


def test_the_differences_are_listed_with_keys_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    handled("a1", "a2", "b1")
    spoil()
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("rebuild_projection", "parcel.fill_shelves", "--diff", stdout=out, stderr=StringIO())
    assert out.getvalue().splitlines() == [
        "shelf: 1 rows missing, 1 too many, 1 different.",
        "  different name=a parcels=2: weight 3.50 -> 3.00",
        "  extra     name=z parcels=7 weight=1",
        "  missing   name=b parcels=1 weight=1.50",
    ]


def test_machines_get_the_same_as_json() -> None:
    handled("a1", "b1")
    spoil()
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("rebuild_projection", "parcel.fill_shelves", "--diff", "--json", "--show=0", stdout=out)
    (table,) = json.loads(out.getvalue())["tables"]
    assert table == {"table": "shelf", "missing": 1, "extra": 1, "different": 1, "first": []}
    report = json.loads(run("parcel.fill_shelves", "--json"))
    assert report["old"] == "old_parcel_fill_shelves"
    assert (report["events"], report["settled"]) == (0, 0), "the shadow tables of --diff were complete"


def test_a_dry_run_counts_and_changes_nothing() -> None:
    send("a1")
    listen(fill_shelves)
    handled("a2", "a3")
    send("a4")
    (dead,) = send("a5")
    inbox.mark_dead(fill_shelves, dead.envelope.event_id, 3)
    report = json.loads(run("parcel.fill_shelves", "--dry-run", "--json"))
    assert report["events"] == {"handled": 2, "from before it listened": 1, "on its way": 1, "dead": 1}
    assert report["begun"] is False
    assert "2 handled" in run("parcel.fill_shelves", "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["parcel.nobody"], "Projections: parcel.fill_shelves"),
        (["parcel.track"], r"tables=\[Model"),
        (["parcel.fill_shelves", "--back"], "no way back"),
    ],
)
def test_a_senseless_request_ends_with_2(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says) as refused:
        run(*arguments)
    assert refused.value.returncode == 2


def test_a_handler_that_fails_ends_with_1_and_advice() -> None:
    handled("a1")

    def divide(event: ParcelSent) -> None:
        raise ZeroDivisionError

    also["do"] = divide
    with pytest.raises(CommandError, match="--abandon") as failed:
        run("parcel.fill_shelves")
    assert failed.value.returncode == 1
    assert "ZeroDivisionError" in str(failed.value)


def test_a_table_that_is_never_free_ends_with_1() -> None:
    handled("a1")
    with (
        somebody_reads("shelf"),
        patch.object(driver, "TRIES", 1),
        pytest.raises(CommandError, match="pg_stat_activity") as busy,
    ):
        run("parcel.fill_shelves")
    assert busy.value.returncode == 1
