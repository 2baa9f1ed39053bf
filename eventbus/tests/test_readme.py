"""The README of the bus: its example runs as it stands, and its lists have all that there is."""

import re
from typing import Any, get_type_hints

import pytest

import eventbus
from eventbus.archive.models import ArchivedEvent
from eventbus.conf import PREFIX, BusSettings
from eventbus.relay.models import Outbox
from eventbus.testing import deliver, from_archive, published
from eventbus.tests.settings import PROJECT

BUS = PROJECT / "eventbus"
README = (BUS / "README.md").read_text()


@pytest.mark.django_db
def test_the_example_has_its_effect_once() -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(example, names)  # noqa: S102  our own file

    [paid] = ArchivedEvent.objects.filter(type="invoice.paid")
    assert Outbox.objects.filter(event_id=paid.pk).exists()
    event = from_archive(paid)
    assert [deliver(event, to=names["issue_receipt"]) for _ in range(2)] == [1, 0]
    assert [receipt.invoice for receipt in published(names["ReceiptIssued"])] == ["2025-7"]
    assert ArchivedEvent.objects.get(type="receipt.issued").causation_id == paid.pk


def test_every_setting_is_listed() -> None:
    assert re.findall(rf"^\| `{PREFIX}(\w+)`", README, re.MULTILINE) == list(get_type_hints(BusSettings))


def test_every_part_is_on_the_map() -> None:
    listed = {name.rstrip("/") for name in re.findall(r"`(\w+(?:/|\.py))`", README.split("## The map")[1])}
    there = {path.name for path in BUS.glob("[a-z]*") if path.suffix == ".py" or path.is_dir()}
    assert there - listed == {"apps.py", "conftest.py"}
    assert listed - there == set()


def test_every_name_that_is_explained_is_at_the_door() -> None:
    _, table = README.split("| name | why |\n", 1)
    explained = re.findall(r"^\| `(\w+)` ", table.split("\n\n", 1)[0], re.MULTILINE)
    assert len(explained) == 9
    assert set(explained) <= set(eventbus.__all__)
