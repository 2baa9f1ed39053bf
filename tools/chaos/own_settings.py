"""Settings of `script/chaos` itself, which is no process of the product: for what it borrows of the bus."""

EVENTBUS_EXCHANGE = "orders"
