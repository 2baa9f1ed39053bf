from uuid import UUID

import pytest
import structlog
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from eventbus.ids import new_id
from eventbus.recording.context import Cause, acting_as, caused_by, current_cause, handling
from eventbus.recording.correlation import CorrelationMiddleware
from eventbus.testing.bus import delivered
from eventbus.tests.samples import ParcelSent


def through_middleware(given: str | None) -> tuple[str, HttpResponse]:
    """What the view saw as its correlation id, and the answer."""
    seen: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(current_cause().correlation_id)
        return HttpResponse()

    headers = {} if given is None else {"x-correlation-id": given}
    response = CorrelationMiddleware(view)(RequestFactory().get("/", headers=headers))
    return seen[0], response


@pytest.mark.parametrize("given", ["a", "order-42", "01926f3c-1c9e-7b7b", "x" * 128, "A.b:c/d+e=f@g_h"])
def test_a_callers_correlation_id_is_taken_over(given: str) -> None:
    seen, response = through_middleware(given)
    assert seen == response.headers["x-correlation-id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "line\nbreak", "ä", "<script>", "a;b"])
def test_an_id_that_could_do_harm_or_is_none_is_replaced_by_a_fresh_one(given: str | None) -> None:
    seen, response = through_middleware(given)
    assert seen == response.headers["x-correlation-id"] != given
    assert UUID(seen).version == 7


def test_each_request_has_an_id_of_its_own_and_leaves_none_behind() -> None:
    first, _ = through_middleware("first")
    second, _ = through_middleware(None)
    assert second != first
    assert structlog.contextvars.get_contextvars() == {}


def test_what_a_user_does_belongs_to_the_request_and_names_the_user() -> None:
    with caused_by(Cause("c1", causation_id=new_id(), user_id="7")), acting_as(8):
        assert current_cause() == Cause("c1", user_id="8")


def test_what_a_handler_does_is_caused_by_its_event() -> None:
    event = delivered(ParcelSent(parcel_id="p1"), correlation_id="c1", causation_id=new_id())
    with handling(event.envelope, "parcel.track"):
        assert current_cause() == Cause("c1", event.envelope.event_id)
        assert structlog.contextvars.get_contextvars() == {
            "correlation_id": "c1",
            "event_id": str(event.envelope.event_id),
            "causation_id": str(event.envelope.metadata.causation_id),
            "consumer": "parcel.track",
            "event_type": "parcel.sent",
            "parcel_id": "p1",
        }
    assert structlog.contextvars.get_contextvars() == {}


def test_causes_nest_and_come_back() -> None:
    with caused_by(Cause("outer", user_id="jane")):
        with caused_by(Cause("inner")):
            assert current_cause() == Cause("inner")
        assert current_cause() == Cause("outer", user_id="jane")


def test_ids_made_later_sort_later() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert {each.version for each in ids} == {7}
