import json
from io import StringIO

import pytest
from django.core.management import call_command

from eventbus.testing import deliver
from inventory.consumers import reserve_stock
from inventory.models import Stock
from inventory.tests.builders import order_created

pytestmark = pytest.mark.django_db


def received() -> dict[str, int]:
    out = StringIO()
    call_command("load_demo", "--json", stdout=out)
    report: dict[str, int] = json.loads(out.getvalue())["received"]
    return report


def test_it_fills_the_shelves_and_a_second_run_changes_nothing() -> None:
    assert received()["coffee-mug"] == 10_000
    assert set(received().values()) == {0}
    assert Stock.objects.get(product_id="rare-vase").available == 5


def test_it_fills_up_what_was_sold() -> None:
    received()
    deliver(order_created(("rare-vase", 3), ("desk-lamp", 10)), to=reserve_stock)
    assert {key: count for key, count in received().items() if count} == {"rare-vase": 3, "desk-lamp": 10}


def test_what_is_above_its_level_stays() -> None:
    received()
    Stock.objects.filter(product_id="rare-vase").update(available=50, received=50)
    assert received()["rare-vase"] == 0
