"""Goods for the tests' orders."""

from uuid import uuid4

from inventory import services


def receive(quantity: int) -> str:
    """A product that no other test knows, with so much of it on the shelf; returns its id."""
    product_id = f"thing-{uuid4().hex[:12]}"
    services.receive_stock(product_id=product_id, product_name="A thing", quantity=quantity)
    return product_id
