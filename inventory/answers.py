"""What the API answers about stock, for its document."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from eventbus import Contract
from inventory.events import Counted

_STOCK: Any = {"productId": "desk-lamp", "productName": "Desk lamp", "available": 48, "reserved": 2, "shipped": 150}


class StockAnswer(Contract):
    """The stock of a product. What was ever received is available, reserved or shipped."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STOCK]})

    product_id: str
    product_name: str
    available: Annotated[Counted, Field(description="Can be ordered.")]
    reserved: Annotated[Counted, Field(description="Set aside for orders, and still here.")]
    shipped: Counted
    as_of: Annotated[datetime, Field(description="The moment that was asked for, in such an answer alone.")] | None = (
        None
    )


class StockListAnswer(Contract):
    """A part of the list of products, by id."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [_STOCK], "next": None, "previous": None}]})

    results: list[StockAnswer]
    next: str | None
    previous: str | None
