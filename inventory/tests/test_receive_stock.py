import pytest
from pydantic import ValidationError

from eventbus.testing import ArchivedEvent
from inventory.events import StockReceived
from inventory.models import Stock
from inventory.services import NamelessProduct, receive_stock

pytestmark = pytest.mark.django_db


def test_goods_are_on_the_shelf_and_announced() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=5)
    stock = receive_stock(product_id="cup", quantity=7)
    assert (stock.product_name, stock.available, stock.received) == ("Cup", 12, 12)
    announced = ArchivedEvent.objects.filter(type=StockReceived.type, aggregate_id="cup").order_by("sequence")
    assert [row.data["quantity"] for row in announced] == [5, 7]
    assert {row.data["productName"] for row in announced} == {"Cup"}


def test_a_receipt_with_another_name_renames_the_product() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=1)
    receive_stock(product_id="cup", product_name="Tea cup", quantity=1)
    assert Stock.objects.get().product_name == "Tea cup"


def test_a_new_product_needs_a_name() -> None:
    with pytest.raises(NamelessProduct, match="give its name"):
        receive_stock(product_id="cup", quantity=1)


@pytest.mark.parametrize("quantity", [0, -1, 2**31])
def test_a_quantity_that_is_none_changes_nothing(quantity: int) -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=1)
    with pytest.raises(ValidationError):
        receive_stock(product_id="cup", quantity=quantity)
    assert Stock.objects.get().available == 1
