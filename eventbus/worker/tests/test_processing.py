"""What a failure says about what its handler needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from eventbus.declaration import CONSUMERS, Retry, consumer
from eventbus.errors import PermanentFailure, RetryAfter
from eventbus.testing.bus import on_the_wire
from eventbus.tests.samples import ParcelSent
from eventbus.worker import processing
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import Settled, run_one

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = {"x-attempt": 2, "x-first-failed-at": (datetime.now(UTC) - timedelta(days=1)).isoformat()}


@pytest.fixture(autouse=True)
def broker_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "_send", lambda *messages: True)


def settled(error: Exception, headers: dict[str, object]) -> Settled:
    """What becomes of an event whose handler raises this."""

    def fail(event: ParcelSent) -> None:
        raise error

    declared = consumer("parcel.failing", on=[ParcelSent], retry=Retry(max_age=3600))(fail)
    try:
        with pytest.raises(Settled) as caught:
            run_one(declared, Delivery(on_the_wire(ParcelSent(parcel_id="p")), headers))
    finally:
        del CONSUMERS[declared.name]
    return caught.value


@pytest.mark.parametrize("headers", [{}, LONG_AGO], ids=["postponed", "given up"])
@pytest.mark.parametrize(
    ("error", "may_be_outage"),
    [
        (lambda: ConnectionError("away"), True),
        (lambda: RetryAfter(60, "not this one, not now"), False),
        (lambda: PermanentFailure("never"), False),
    ],
)
def test_what_a_handler_says_of_one_event_is_no_outage(
    error: Callable[[], Exception], may_be_outage: bool, headers: dict[str, object]
) -> None:
    assert settled(error(), headers).may_be_outage is may_be_outage
