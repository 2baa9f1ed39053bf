import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from inventory import queries, services

PLENTY = 10_000
#: Product id, name, and the level that a run fills it up to. The vase is there to be sold out.
PRODUCTS = (
    ("coffee-mug", "Coffee mug, stoneware", PLENTY),
    ("desk-lamp", "Desk lamp, brass", PLENTY),
    ("garden-chair", "Garden chair, folding", PLENTY),
    ("linen-towel", "Linen towel", PLENTY),
    ("notebook-a5", "Notebook A5, dotted", PLENTY),
    ("picnic-rug", "Picnic rug, wool", PLENTY),
    ("wall-clock", "Wall clock, oak", PLENTY),
    ("rare-vase", "Rare vase, signed", 5),
)


class Command(BaseCommand):
    help = (
        "Fills the stock of the demo products up to their levels: 10,000 of each, 5 of the rare vase. "
        "What is at its level or above is left alone, so it can be run at any time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        received = {product_id: fill_up(product_id, name, level) for product_id, name, level in PRODUCTS}
        if options["json"]:
            self.stdout.write(json.dumps({"received": received}))
            return
        for product_id, name, level in PRODUCTS:
            self.stdout.write(f"{product_id:<14} {name:<24} received {received[product_id]:>6}, level {level:>6}")


def fill_up(product_id: str, name: str, level: int) -> int:
    """Receive what is missing to the level; returns how much that was."""
    stock = queries.stock_of(product_id)
    missing = level - (stock["available"] if stock else 0)
    if missing <= 0:
        return 0
    services.receive_stock(product_id=product_id, product_name=name, quantity=missing)
    return missing
