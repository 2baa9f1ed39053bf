"""The story behind an id: on a page, as JSON, and in a terminal."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.urls import reverse

from console.formats import duration, offset, short_id
from console.tests.builders import answered_order, event_of, signed_in
from console.timeline import Axis
from eventbus import database_time
from eventbus.testing import given_up, put_off
from notifications.consumers import queue_confirmation
from orders.events import OrderConfirmed, OrderCreated
from orders.models import Order
from shipping.consumers import prepare

pytestmark = pytest.mark.usefixtures("shop")


def trace_of(wanted: object) -> str:
    return reverse("console:trace", args=[wanted])


@pytest.fixture
def troubled() -> Order:
    """An order that one consumer has given up and another one tries again."""
    order = answered_order(but=[prepare, queue_confirmation])
    given_up(event_of(order.pk, OrderCreated.type), at=prepare, error="customerEmail missing")
    put_off(event_of(order.pk, OrderConfirmed.type), at=queue_confirmation, seconds=600)
    return order


def test_each_step_is_a_row_under_what_led_to_it() -> None:
    order = answered_order()
    answer = signed_in("operator").get(trace_of(order.pk))
    rows = [(row.depth, row.title) for row in answer.context["timeline"].rows]
    assert rows[0] == (0, OrderCreated.type)
    assert (1, "inventory.reserve_stock") in rows
    assert (2, "inventory.reserved") in rows
    assert (3, "orders.confirm") in rows
    assert (4, OrderConfirmed.type) in rows
    assert (5, "notifications.queue_confirmation") in rows


def test_what_stopped_stands_on_top_with_its_reason(troubled: Order) -> None:
    html = signed_in("operator").get(trace_of(troubled.pk)).content.decode()
    assert "shipping.prepare gave order.created up: ValueError: customerEmail missing" in html
    assert "Replay letter" in html


def test_why_there_is_no_mail_is_said(troubled: Order) -> None:
    html = signed_in("operator", "clerk").get(trace_of(troubled.pk)).content.decode()
    assert "notifications.queue_confirmation failed and tries again in" in html
    assert "as attempt 2: ValueError: no" in html


def test_an_event_leads_to_the_story_of_its_order() -> None:
    order = answered_order()
    event_id = event_of(order.pk, OrderConfirmed.type)
    answer = signed_in("operator").get(trace_of(event_id))
    assert answer["Location"] == f"{trace_of(order.pk)}#e-{event_id}"


def test_a_correlation_id_tells_all_that_an_action_caused() -> None:
    order = answered_order()
    html = signed_in("operator").get(trace_of(order.correlation_id)).content.decode()
    assert "order.confirmed" in html
    assert str(order.pk) in html


@pytest.mark.parametrize("wanted", ["nothing", "a" * 300, str(UUID(int=1)), "a\x07b"])
def test_what_nobody_knows_is_not_found(wanted: str) -> None:
    assert signed_in("operator").get(trace_of(wanted)).status_code == 404


def test_who_may_not_read_payloads_sees_none() -> None:
    order = answered_order()
    assert "ada@shop.example" not in signed_in("developer").get(trace_of(uuid4())).content.decode()
    assert "shippingAddress" in signed_in("auditor").get(trace_of(order.pk)).content.decode()
    assert "shippingAddress" not in signed_in("operator").get(trace_of(order.pk)).content.decode()


def test_json_says_the_same_as_the_command(troubled: Order, capsys: Any) -> None:
    page = signed_in("auditor").get(trace_of(troubled.pk) + "?format=json").json()
    capsys.readouterr()
    call_command("trace", str(troubled.pk), "--json")
    assert json.loads(capsys.readouterr().out) == page
    (letter,) = (each for each in page["events"][0]["deliveries"] if each["state"] == "dead")
    assert (letter["consumer"], letter["error"]) == ("shipping.prepare", "ValueError: customerEmail missing")
    assert page["order"]["status"] == "CONFIRMED"
    assert "customerEmail" not in page["order"]


def test_json_leaves_out_what_this_person_may_not_see(troubled: Order) -> None:
    page = signed_in("developer").get(trace_of(troubled.pk) + "?format=json").json()
    assert "mails" not in page
    assert "order" in page


def test_the_command_tells_it_in_a_terminal(troubled: Order, capsys: Any) -> None:
    call_command("trace", str(event_of(troubled.pk, OrderCreated.type)))
    said = capsys.readouterr().out
    assert f"Order {troubled.pk}" in said
    assert "! shipping.prepare gave order.created up" in said
    assert "inventory.reserve_stock" in said


def test_the_command_ends_with_1_where_nothing_is_known() -> None:
    with pytest.raises(CommandError) as failed:
        call_command("trace", "nothing")
    assert failed.value.returncode == 1


def test_an_operator_replays_a_dead_letter_from_the_page(troubled: Order) -> None:
    client = signed_in("operator")
    letter = next(
        each.letter for each in client.get(trace_of(troubled.pk)).context["told"].story.deliveries if each.letter
    )
    address = reverse("console:replay", args=[letter])
    answer = client.post(address, {"back": trace_of(troubled.pk)}, follow=True)
    assert "goes to its consumer again" in answer.content.decode()
    assert "somebody was faster" in client.post(address, {"back": trace_of(troubled.pk)}, follow=True).content.decode()
    assert LogEntry.objects.get().change_message == "Replayed."
    assert signed_in("clerk").post(address).status_code == 403


def test_an_operator_hurries_a_retry(troubled: Order) -> None:
    client = signed_in("operator")
    deliveries = client.get(trace_of(troubled.pk)).context["told"].story.deliveries
    address = reverse("console:hurry", args=[next(each.retry for each in deliveries if each.retry)])
    assert "sent at once" in client.post(address, {"back": "/"}, follow=True).content.decode()
    assert "does not wait any more" in client.post(address, {"back": "/"}, follow=True).content.decode()


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_a_form_leads_back_to_this_site_alone(to: str, troubled: Order) -> None:
    answer = signed_in("operator").post(reverse("console:hurry", args=[1]), {"back": to})
    assert answer["Location"] == "/"


def test_the_newest_events_are_listed_by_type_and_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.views.events.SHOWN", 2)
    order = answered_order()
    client = signed_in("operator")
    first = client.get("/pipeline/events/")
    assert len(first.context["events"]) == 2
    older = client.get("/pipeline/events/", {"before": str(first.context["older"])})
    assert older.context["events"][0].event_id < first.context["events"][-1].event_id
    confirmed = client.get("/pipeline/events/?type=order.confirmed")
    assert [event.aggregate_id for event in confirmed.context["events"]] == [str(order.pk)]
    assert "customerEmail" not in confirmed.content.decode()
    assert "customerEmail" in signed_in("auditor").get("/pipeline/events/?type=order.confirmed").content.decode()
    assert client.get("/pipeline/events/?type=nonsense&before=nonsense").status_code == 200


class TestAxis:
    """Moments as places."""

    def test_a_short_story_is_drawn_to_scale(self) -> None:
        now = database_time()
        axis = Axis([now, now + timedelta(seconds=0.1), now + timedelta(seconds=0.2)])
        assert [axis.at(moment) for moment in axis.moments] == [0, 50, 100]
        assert [tick.label for tick in axis.ticks] == ["0", "100 ms", "200 ms"]

    def test_where_nothing_happens_for_long_the_axis_is_broken(self) -> None:
        now = database_time()
        axis = Axis(
            [now, now + timedelta(seconds=0.6), now + timedelta(seconds=3600.6), now + timedelta(seconds=3601.2)]
        )
        places = [axis.at(moment) for moment in axis.moments]
        assert places[1] > 40
        assert places[2] - places[1] < 20
        assert [tick.label for tick in axis.ticks if tick.is_break] == ["1 h"]

    def test_of_nothing_there_is_none(self) -> None:
        assert Axis([]).ticks == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.18, "180 ms"), (0.9999, "1 s"), (1.25, "1.2 s"), (59.0, "59 s"), (125, "2 min 5 s"), (11_400, "3 h 10 min"),
     (360_000, "4 d 4 h"), (-2, "-2 s"), (None, "\N{EN DASH}")],
)  # fmt: skip
def test_stretches_of_time_are_written_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_ids_are_short_and_tell_neighbours_apart() -> None:
    assert short_id("01a219e1-97ba-7039-8073-74cda2e0e6cf") == "01a219e1…e6cf"
    assert short_id("c-77") == "c-77"
    assert len(short_id("x" * 100)) < 20
    now = database_time()
    assert offset(now, now) == "0"
