from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client

from eventbus.testing import ArchivedEvent, deliver, prune_this_month
from inventory.consumers import reserve_stock
from inventory.history import Quantities
from inventory.models import Stock
from inventory.services import receive_stock
from inventory.tests.builders import order_created, shelve, stream_of, tell

pytestmark = pytest.mark.django_db

STOCK = "/admin/inventory/stock/"
RESERVATIONS = "/admin/inventory/reservation/"


def clerk(*permissions: str) -> Client:
    """Someone of the staff with these permissions on stock and reservations."""
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="inventory", codename__in=["view_stock", *permissions])
    )
    client = Client()
    client.force_login(user)
    return client


def shown(answer: Any) -> list[str]:
    return [str(row.pk) for row in answer.context["cl"].result_list]


def test_stock_is_found_by_a_part_of_its_name_and_by_its_level() -> None:
    shelve("cup", 50)
    shelve("vase", 5)
    shelve("lamp", 0)
    client = clerk()
    assert shown(client.get(STOCK, {"q": "va"})) == ["vase"]
    assert shown(client.get(STOCK, {"level": "low"})) == ["lamp", "vase"]
    assert shown(client.get(STOCK, {"level": "out"})) == ["lamp"]


def test_goods_come_in_by_the_form_and_the_event_says_who() -> None:
    client = clerk("receive_stock")
    form = {"product_id": "cup", "product_name": "Cup", "quantity": 5}
    assert client.post(f"{STOCK}receive/", form).status_code == 302
    assert Stock.objects.get().available == 5
    event = ArchivedEvent.objects.get(type="inventory.stock.received", aggregate_id="cup")
    assert event.user_id == str(User.objects.get(username="clerk").pk)


@pytest.mark.parametrize(
    "form",
    [
        {"product_id": "cup", "quantity": 5},
        {"product_id": "cup", "product_name": "Cup", "quantity": 0},
        {"product_id": "a\nb", "product_name": "Cup", "quantity": 1},
        {"product_id": "x" * 65, "product_name": "Cup", "quantity": 1},
    ],
)
def test_a_wrong_form_comes_back_with_its_errors(form: dict[str, object]) -> None:
    answer = clerk("receive_stock").post(f"{STOCK}receive/", form)
    assert answer.status_code == 200
    assert answer.context["form"].errors
    assert not Stock.objects.exists()


def test_receiving_has_a_permission_of_its_own() -> None:
    shelve("cup", 1)
    client = clerk("change_stock")
    assert client.get(f"{STOCK}receive/").status_code == 403
    assert client.post(f"{STOCK}receive/", {"product_id": "cup", "quantity": 5}).status_code == 403
    assert "Receive stock" not in client.get(STOCK).content.decode()


def test_the_way_to_the_form_is_shown_to_those_who_may() -> None:
    shelve("a/b c", 1)
    client = clerk("receive_stock", "change_stock")
    assert "Receive stock" in client.get(STOCK).content.decode()
    page = client.get(f"{STOCK}{quote('a/b c')}/change/")
    assert f"{STOCK}receive/?product_id=a%2Fb%20c" in page.content.decode()


def test_an_edited_threshold_leaves_alone_what_was_sold_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    as_read = shelve("cup", 50)
    client = clerk("change_stock")
    # The form has read the row; before it is saved, an order takes some.
    monkeypatch.setattr("inventory.admin.StockAdmin.get_object", lambda *_: as_read)
    deliver(order_created(("cup", 20)), to=reserve_stock)
    answer = client.post(f"{STOCK}cup/change/", {"product_name": "Tea cup", "low_threshold": 3, "available": 999})
    assert answer.status_code == 302
    stock = Stock.objects.get(product_id="cup")
    assert (stock.product_name, stock.low_threshold, stock.available, stock.reserved) == ("Tea cup", 3, 30, 20)


def test_quantities_and_rows_are_not_made_by_hand() -> None:
    shelve("cup", 1)
    client = clerk("add_stock", "delete_stock", "change_reservation", "add_reservation", "view_reservation")
    assert client.get(f"{STOCK}add/").status_code == 403
    assert client.post(f"{STOCK}cup/delete/").status_code == 403
    assert client.get(f"{RESERVATIONS}add/").status_code == 403


def test_reservations_are_found_by_order_and_by_product() -> None:
    shelve("cup", 5)
    shelve("vase", 5)
    order, other = order_created(("cup", 1)), order_created(("vase", 1), ("cup", 9))
    deliver([order, other], to=reserve_stock)
    client = clerk("view_reservation")
    by_order = client.get(RESERVATIONS, {"q": str(order.order_id)}).context["cl"].result_list
    assert [row.order_id for row in by_order] == [order.order_id]
    by_product = client.get(RESERVATIONS, {"q": "vase"}).context["cl"].result_list
    assert [row.order_id for row in by_product] == [other.order_id]
    refused = client.get(RESERVATIONS, {"state": "REFUSED"}).context["cl"].result_list
    assert {row.order_id for row in refused} == {other.order_id}


def count(client: Client, product_id: str = "cup", **fields: object) -> Any:
    return client.post(f"{STOCK}count/?product_id={product_id}", {"reason": "stocktaking", **fields})


def test_a_count_goes_into_the_books_by_the_form_and_the_event_says_who() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=20)
    client = clerk("count_stock")
    page = client.get(f"{STOCK}count/", {"product_id": "cup"})
    assert page.context["form"].initial == {"sequence": 1}
    assert count(client, counted=18, sequence=1).status_code == 302
    assert Stock.objects.get().available == 18
    event = ArchivedEvent.objects.get(type="inventory.stock.corrected")
    assert event.user_id == str(User.objects.get(username="clerk").pk)
    late = count(client, counted=17, sequence=1)
    assert late.context["form"].non_field_errors()
    assert Stock.objects.get().available == 18


def test_a_count_that_cannot_be_comes_back_with_its_errors() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=20)
    deliver(order_created(("cup", 3)), to=reserve_stock)
    client = clerk("count_stock")
    for wrong in ({"counted": 2}, {"counted": -1}, {"counted": 2**60}, {"counted": 9, "reason": ""}, {"counted": "x"}):
        answer = count(client, sequence=2, **wrong)
        assert answer.status_code == 200
        assert answer.context["form"].errors, wrong
    assert Stock.objects.get().available == 17


def test_counting_has_a_permission_of_its_own() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=20)
    client = clerk("change_stock", "receive_stock")
    assert client.get(f"{STOCK}count/", {"product_id": "cup"}).status_code == 403
    assert count(client, counted=1, sequence=1).status_code == 403
    assert "Count" not in client.get(f"{STOCK}cup/change/").content.decode()


@pytest.mark.parametrize("product_id", ["ufo", "", "a\x00b"])
@pytest.mark.parametrize("page", ["count", "ledger"])
def test_what_is_no_product_has_no_pages(page: str, product_id: str) -> None:
    assert clerk("count_stock").get(f"{STOCK}{page}/", {"product_id": product_id}).status_code == 404


def test_the_ledger_shows_what_each_movement_left_newest_first_page_by_page() -> None:
    receive_stock(product_id="cup", product_name="<b>Cup</b>", quantity=100)
    deliver([order_created(("cup", 1)) for _ in range(70)], to=reserve_stock)
    client = clerk()
    assert f"{STOCK}ledger/?product_id=cup" in client.get(f"{STOCK}cup/change/").content.decode()
    first = client.get(f"{STOCK}ledger/", {"product_id": "cup"})
    assert "<b>Cup" not in first.content.decode()
    balances = [entry.balance for entry in first.context["entries"]]
    assert balances == [Quantities(30 + n, 70 - n) for n in range(50)]
    second = client.get(f"{STOCK}ledger/", {"product_id": "cup", "before": first.context["older"]})
    assert [entry.balance for entry in second.context["entries"]] == [Quantities(80 + n, 20 - n) for n in range(21)]
    assert second.context["older"] is None


def test_the_ledger_begins_where_it_is_told() -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    tell("cup", *((day.replace(day=n), "received", {"quantity": 1}) for n in range(1, 11)))
    client = clerk()
    page = client.get(f"{STOCK}ledger/", {"product_id": "cup", "as_of": "2026-01-04 12:00"})
    assert [entry.sequence for entry in page.context["entries"]] == [4, 3, 2, 1]
    assert client.get(f"{STOCK}ledger/", {"product_id": "cup", "as_of": "2025-01-01"}).context["entries"] == []
    wrong = client.get(f"{STOCK}ledger/", {"product_id": "cup", "as_of": "x"})
    assert wrong.status_code == 200
    assert wrong.context["form"].errors
    assert client.get(f"{STOCK}ledger/", {"product_id": "cup", "before": "9" * 30}).status_code == 200


def test_the_ledger_says_where_the_history_begins() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=3)
    received = stream_of("cup")[0].occurred_at
    prune_this_month()
    page = clerk().get(f"{STOCK}ledger/", {"product_id": "cup", "as_of": "2026-01-01"})
    assert f"begins at {received:%Y-%m-%dT%H:%M:%S}" in page.content.decode()
