"""The checker of effects: what a channel was told, and what its orders came to."""

from collections import Counter
from uuid import UUID

from eventbus.consumer import CONSUMERS
from tests.support.bus import LiveBus
from tests.support.mail import MailSink
from tests.support.shop import Shop

#: Every process of the product: web, relay, and a worker for each group of consumers that is not the tests' own.
GROUPS = {each.group for each in CONSUMERS.values() if not each.handler.__module__.startswith("tests.")}
PIPELINE = ("web", "relay", *(f"worker {group}" for group in sorted(GROUPS)))

MOVES = ["order.created", "order.confirmed", "order.rejected", "order.cancelled", "order.shipped"]
HISTORIES = """
SELECT o.id, o.status, array_agg(e.type ORDER BY e.sequence) FILTER (WHERE e.type = ANY(%s))
FROM orders_order o LEFT JOIN event e ON e.aggregate_id = o.id::text
WHERE o.channel_id = %s GROUP BY o.id
"""
STOCK = """
SELECT s.product_id, s.received, s.available, s.reserved, s.shipped
FROM inventory_stock s WHERE s.product_id = ANY(%s)
"""
MAILS = "SELECT order_id, kind, message_id, state FROM notifications_mail WHERE order_id = ANY(%s)"

LEGAL = {
    "CONFIRMED": [["order.created", "order.confirmed"]],
    "REJECTED": [["order.created", "order.rejected"]],
    "CANCELLED": [["order.created", "order.cancelled"], ["order.created", "order.confirmed", "order.cancelled"]],
    "SHIPPED": [["order.created", "order.confirmed", "order.shipped"]],
}
#: How a status is found in the stock.
COLUMN = {"CONFIRMED": "reserved", "SHIPPED": "shipped"}
MAIL_FOR = {"order.confirmed": "confirmation", "order.rejected": "apology", "order.shipped": "tracking"}


def check(bus: LiveBus, shop: Shop, sink: MailSink, *, in_doubt: int = 0, seconds: float = 60) -> dict[UUID, str]:
    """Assert that all which the shop was told came true, once; returns each order's status.

    `in_doubt`: how many mails may be in the one state that nobody can know about. `seconds`: until all is done.
    """
    bus.drain(seconds)  # I5, I8
    bus.verify()
    assert shop.unfit == []  # I7
    histories = check_orders(bus, shop)
    statuses = {order_id: status for order_id, (status, _) in histories.items()}
    check_stock(bus, shop, statuses)
    check_mails(bus, sink, histories, in_doubt)
    check_probes(bus)
    return statuses


def check_orders(bus: LiveBus, shop: Shop) -> dict[UUID, tuple[str, list[str]]]:
    """I1: each accepted order is there once, and no other. I6: it went one legal way, and to its end."""
    histories = {
        order_id: (status, history) for order_id, status, history in bus.query(HISTORIES, MOVES, shop.channel_id)
    }
    assert set(histories) == set(shop.accepted)
    for order_id, (status, history) in histories.items():
        assert history in LEGAL.get(status, []), f"order {order_id} is {status} after {history}"
    return histories


def check_stock(bus: LiveBus, shop: Shop, statuses: dict[UUID, str]) -> None:
    """I2, by the client's own count: what is reserved or shipped is what the orders in that status asked for."""
    asked: Counter[tuple[str, str]] = Counter()
    for order_id, body in shop.accepted.items():
        for item in body["items"]:
            asked[item["productId"], COLUMN.get(statuses[order_id], "available")] += item["quantity"]
    products = list({product_id for product_id, _ in asked})
    for product_id, received, available, reserved, shipped in bus.query(STOCK, products):
        assert min(available, reserved, shipped) >= 0
        assert received == available + reserved + shipped
        assert (product_id, reserved) == (product_id, asked[product_id, "reserved"])
        assert (product_id, shipped) == (product_id, asked[product_id, "shipped"])


def check_mails(bus: LiveBus, sink: MailSink, histories: dict[UUID, tuple[str, list[str]]], in_doubt: int) -> None:
    """I4: the right mails for each order, in the customer's box at most once, and once unless they are in doubt."""
    rows = bus.query(MAILS, list(histories))
    assert sorted((order_id, kind) for order_id, kind, *_ in rows) == sorted(
        (order_id, MAIL_FOR[kind])
        for order_id, (_, history) in histories.items()
        for kind in history
        if kind in MAIL_FOR
    )
    arrived = sink.by_message_id()
    doubtful = [message_id for _, _, message_id, state in rows if state == "UNKNOWN"]
    assert len(doubtful) <= in_doubt
    for _, _, message_id, state in rows:
        assert state in {"SENT", "UNKNOWN"}
        assert arrived[message_id] <= 1
        assert arrived[message_id] == 1 or state == "UNKNOWN"


def check_probes(bus: LiveBus) -> None:
    """I3: no event had its effect twice at a consumer, and none that counts as done had none."""
    assert bus.query("SELECT consumer, event_id FROM effect GROUP BY 1, 2 HAVING count(*) > 1") == []
    done = "SELECT consumer, event_id FROM processed_event WHERE outcome = 'done' AND consumer ~ '^(probe|trouble)[.]'"
    assert bus.query(f"({done}) EXCEPT SELECT consumer, event_id FROM effect") == []
    assert bus.query(f"SELECT consumer, event_id FROM effect EXCEPT ({done})") == []
