"""What inventory announces."""

from typing import Annotated, Literal

from pydantic import Field

from eventbus import Contract, Event, Line, Named, Whole

#: What may stand in a line: no NUL, which PostgreSQL refuses, no line breaks, nothing invisible.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
#: A product's id also names its stream of events.
ProductId = Annotated[Line, Field(max_length=64)]
Quantity = Annotated[Whole, Field(ge=1, le=2**31 - 1)]
#: So much of a product over all lines of an order.
Amount = Annotated[Whole, Field(ge=1, le=2**53 - 1)]
#: Many receipts may add up to more than one can bring; more than this not every reader of JSON keeps exactly.
Counted = Annotated[Whole, Field(ge=0, le=2**53 - 1)]
Difference = Annotated[Whole, Field(gt=-(2**53), lt=2**53)]
Name = Annotated[Line, Field(max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)]


class ReservedItem(Contract):
    """So many of a product, set aside for an order."""

    product_id: ProductId
    quantity: Amount


class Shortage(Contract):
    """A product that an order asked more of than there was; none of a product that was never received."""

    product_id: ProductId
    requested: Amount
    available: Counted


class InventoryReserved(Event, type="inventory.reserved", version="1.0", aggregate="order_id", aggregate_type="order"):
    """Every line of the order is set aside. One item per product, however many lines the order had of it."""

    order_id: Named
    items: tuple[ReservedItem, ...]


class InventoryReservationFailed(
    Event, type="inventory.reservation.failed", version="1.0", aggregate="order_id", aggregate_type="order"
):
    """Nothing of the order is set aside, because of these shortages."""

    order_id: Named
    reason: Literal["insufficient_stock", "unknown_product"]
    shortages: tuple[Shortage, ...]


class InventoryReleased(Event, type="inventory.released", version="1.0", aggregate="order_id", aggregate_type="order"):
    """What was set aside for the order can be sold again, because the order was cancelled."""

    order_id: Named
    items: tuple[ReservedItem, ...]


class StockReceived(
    Event, type="inventory.stock.received", version="1.0", aggregate="product_id", aggregate_type="product"
):
    """Goods came in: `quantity` more of the product can be sold."""

    product_id: ProductId
    product_name: Name
    quantity: Quantity


class StockReserved(
    Event,
    type="inventory.stock.reserved",
    version="1.0",
    aggregate="product_id",
    aggregate_type="product",
    internal=True,
):
    """So much of the product was set aside for an order."""

    product_id: ProductId
    order_id: Named
    quantity: Amount


class StockReleased(
    Event,
    type="inventory.stock.released",
    version="1.0",
    aggregate="product_id",
    aggregate_type="product",
    internal=True,
):
    """So much of the product can be sold again: its order was cancelled."""

    product_id: ProductId
    order_id: Named
    quantity: Amount


class StockShipped(
    Event,
    type="inventory.stock.shipped",
    version="1.0",
    aggregate="product_id",
    aggregate_type="product",
    internal=True,
):
    """So much of the product, set aside for an order, has left the house."""

    product_id: ProductId
    order_id: Named
    quantity: Amount


class StockCorrected(
    Event, type="inventory.stock.corrected", version="1.0", aggregate="product_id", aggregate_type="product"
):
    """Someone counted. `counted` is what lay on the shelf, for sale or set aside; `difference` is that minus what the
    books said, and 0 where they were right."""

    product_id: ProductId
    counted: Counted
    difference: Difference
    reason: Reason


class StockLow(Event, type="inventory.stock.low", version="1.0", aggregate="product_id", aggregate_type="product"):
    """What is available of the product fell below its threshold. Announced when it falls, not at every order."""

    product_id: ProductId
    available: Counted
    threshold: Counted
