"""What the workers of an old version did while the new one was already there."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from eventbus.testing import deliver
from inventory import past, services, snapshots
from inventory.consumers import reserve_stock
from inventory.history import Quantities
from inventory.invariants import stock_unlike_its_history
from inventory.models import Stock, StockSnapshot
from inventory.tests.factories import order_created, stream_of, tell

pytestmark = pytest.mark.django_db


def opened(*arguments: str) -> Any:
    out = StringIO()
    call_command("open_stock_histories", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())["opened"]


def test_a_history_that_does_not_add_up_begins_anew_and_the_others_stay() -> None:
    for product_id in ("cup", "jug"):
        services.receive_stock(product_id=product_id, product_name=product_id.title(), quantity=20)
    deliver(order_created(("cup", 1), ("jug", 1)), to=reserve_stock)
    snapshots.make_snapshots(1)
    Stock.objects.filter(pk="cup").update(available=17, reserved=3)
    assert opened("--dry-run") == ["cup"]
    assert opened() == ["cup"]
    assert opened() == []
    assert [row.type.rpartition(".")[2] for row in stream_of("cup")] == ["received", "reserved", "opened"]
    assert len(stream_of("jug")) == 2
    assert set(StockSnapshot.objects.values_list("product_id", flat=True)) == {"jug"}
    assert stock_unlike_its_history() == []
    found = past.stock_as_of("cup", datetime.now(UTC))
    assert found is not None
    assert found.stock == Quantities(17, 3)
    with pytest.raises(past.HistoryBegins):
        past.stock_as_of("cup", stream_of("cup")[1].occurred_at)


def test_a_history_without_a_product_is_left_to_a_person() -> None:
    tell("cup", (datetime(2026, 1, 1, tzinfo=UTC), "received", {"quantity": 1}))
    Stock.objects.all().delete()
    assert opened() == []
    assert len(stock_unlike_its_history()) == 1
