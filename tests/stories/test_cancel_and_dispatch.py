from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from shipping.tests.builders import SOON
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop, Wish

pytestmark = pytest.mark.live

HOW = {"carrier": "Fast Parcel", "trackingNumber": "FP-4711", "estimatedDelivery": SOON.isoformat()}


@pytest.fixture(autouse=True)
def pipeline(live_bus: LiveBus) -> None:
    live_bus.ensure(*PIPELINE)


@pytest.fixture
def clerk(live_bus: LiveBus) -> dict[str, str]:
    """A clerk's log-in, as headers."""
    user = User.objects.create_user(f"clerk-{uuid4().hex[:8]}", is_staff=True)
    _, token = AuthToken.objects.create(user, expiry=timedelta(days=1))
    return {"Authorization": f"Bearer {token}"}


def dispatch(shop: Shop, order_id: UUID, clerk: dict[str, str]) -> httpx.Response:
    return shop.http.post(f"/shipments/{order_id}/dispatch", json=HOW, headers=clerk)


def confirmed(live_bus: LiveBus, shop: Shop, wish: Wish) -> UUID:
    order_id = shop.place(wish)
    live_bus.wait_for(lambda: shop.status(order_id) == "CONFIRMED", "the order to be confirmed")
    return order_id


def stock_of(shop: Shop, product_id: str) -> tuple[int, int, int]:
    stock = shop.http.get(f"/stock/{product_id}").raise_for_status().json()
    return stock["available"], stock["reserved"], stock["shipped"]


def test_a_cancelled_order_gives_its_stock_back(live_bus: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    product = receive(10)
    order_id = confirmed(live_bus, shop, shop.order(product, quantity=3))

    answer = shop.http.post(f"/orders/{order_id}/cancel", json={"reason": "changed their mind"})

    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    live_bus.wait_for(lambda: stock_of(shop, product) == (10, 0, 0), "the stock to be released")
    told = [event["eventType"] for event in shop.events(order_id)]
    changed = "order.status_changed"
    moves = ["order.confirmed", changed, "order.cancelled", changed]
    assert told == ["order.created", "inventory.reserved", *moves, "inventory.released"]
    effects.check(live_bus, shop, mail_sink)


def test_an_order_cancelled_at_once_reserves_nothing_in_the_end(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    product = receive(20)
    orders = shop.place_all([shop.order(product, quantity=2) for _ in range(10)])
    for order_id in orders:
        assert shop.http.post(f"/orders/{order_id}/cancel").status_code == 200

    statuses = effects.check(live_bus, shop, mail_sink)

    assert set(statuses.values()) == {"CANCELLED"}
    assert stock_of(shop, product) == (20, 0, 0)


def test_a_dispatched_order_is_shipped_written_off_and_its_customer_can_follow_it(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink, clerk: dict[str, str]
) -> None:
    product = receive(10)
    wish = shop.order(product, quantity=3)
    order_id = confirmed(live_bus, shop, wish)

    answer = live_bus.wait_for(
        lambda: found if (found := dispatch(shop, order_id, clerk)).status_code == 200 else None,
        "the parcel to be ready",
    )

    assert answer.json()["status"] == "DISPATCHED"
    assert shop.http.post(f"/orders/{order_id}/cancel").status_code == 409
    live_bus.wait_for(lambda: shop.status(order_id) == "SHIPPED", "the order to be shipped")
    live_bus.wait_for(lambda: stock_of(shop, product) == (7, 0, 3), "the stock to be written off")
    mails = live_bus.wait_for(
        lambda: found if len(found := mail_sink.sent_to(wish.email)) == 2 else None, "the tracking mail"
    )
    assert any("FP-4711" in part.get_content() for mail in mails for part in mail.walk() if not part.is_multipart())
    effects.check(live_bus, shop, mail_sink)
