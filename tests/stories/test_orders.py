from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def pipeline(live_bus: LiveBus) -> None:
    live_bus.ensure(*PIPELINE)


def stock_of(shop: Shop, product_id: str) -> tuple[int, int]:
    stock = shop.http.get(f"/stock/{product_id}").raise_for_status().json()
    return stock["available"], stock["reserved"]


def test_an_order_is_confirmed_its_stock_set_aside_and_the_customer_told(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    product = receive(10)
    wish = shop.order(product, quantity=3)

    answer = shop.post(wish, **{"x-correlation-id": f"story-{product}"})

    assert answer.status_code == 201
    assert answer.json()["status"] == "CREATED"
    assert answer.headers["x-correlation-id"] == f"story-{product}"
    order_id = UUID(answer.json()["orderId"])
    live_bus.wait_for(lambda: shop.status(order_id) == "CONFIRMED", "the order to be confirmed")
    assert stock_of(shop, product) == (7, 3)
    (mail,) = live_bus.wait_for(lambda: mail_sink.sent_to(wish.email), "the confirmation")
    assert str(order_id) in str(mail["Subject"])
    assert {part.get_content_type() for part in mail.walk()} >= {"text/plain", "text/html"}
    effects.check(live_bus, shop, mail_sink)


def test_an_order_for_more_than_there_is_is_rejected_and_the_customer_told_why(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    product = receive(2)
    wish = shop.order(product, quantity=3)

    order_id = shop.place(wish)

    live_bus.wait_for(lambda: shop.status(order_id) == "REJECTED", "the order to be rejected")
    assert stock_of(shop, product) == (2, 0)
    (mail,) = live_bus.wait_for(lambda: mail_sink.sent_to(wish.email), "the apology")
    text = mail.get_body(("plain",))
    assert text is not None
    assert "A thing" in text.get_content()
    effects.check(live_bus, shop, mail_sink)


def test_everything_that_an_order_causes_is_one_chain_under_one_correlation_id(live_bus: LiveBus, shop: Shop) -> None:
    correlation_id = f"chain-{uuid4()}"
    answer = shop.post(shop.order(receive(5)), **{"x-correlation-id": correlation_id})
    order_id = UUID(answer.json()["orderId"])
    live_bus.drain()

    rows = live_bus.query("SELECT type, id, causation_id FROM event WHERE correlation_id = %s", correlation_id)
    ids, causes = {kind: each for kind, each, _ in rows}, {kind: cause for kind, _, cause in rows}
    chain = ["order.created", "inventory.reserved", "order.confirmed", "notification.queued", "notification.sent"]
    assert len(ids) == len(rows) >= len(chain)
    for before, after in pairwise(chain):
        assert causes[after] == ids[before], f"{after} was not caused by {before}"
    assert [kind for kind, cause in causes.items() if cause is None] == ["order.created"]
    assert set(causes.values()) <= {None, *ids.values()}

    told = shop.events(order_id)
    assert [event["eventType"] for event in told][:3] == chain[:3]
    assert {event["metadata"]["correlationId"] for event in told} == {correlation_id}
    assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))


def test_the_answer_does_not_wait_for_any_consumer(live_bus: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    product = receive(5)
    live_bus.only("web")

    order_id = shop.place(shop.order(product))

    assert shop.status(order_id) == "CREATED"
    live_bus.ensure(*PIPELINE)
    assert effects.check(live_bus, shop, mail_sink)[order_id] == "CONFIRMED"
