from collections import Counter

import pytest

from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


def test_a_hundred_of_two_thousand_get_the_hot_product(pipeline: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    hot = receive(100)
    pipeline.ensure("worker inventory 2")

    shop.place_all([shop.order(hot) for _ in range(2000)], clients=32)

    statuses = effects.check(pipeline, shop, mail_sink)
    assert Counter(statuses.values()) == {"CONFIRMED": 100, "REJECTED": 1900}
    stock = shop.http.get(f"/stock/{hot}").raise_for_status().json()
    assert (stock["available"], stock["reserved"]) == (0, 100)
