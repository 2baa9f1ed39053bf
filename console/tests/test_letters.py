"""Dead letters as work, and the alarms and stock beside them."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from console.tests.builders import answered_order, event_of, signed_in
from eventbus.pipeline import GroupInFull, letter_group, letter_groups
from eventbus.testing import ArchivedEvent, given_up
from inventory.services import receive_stock
from notifications.consumers import deliver_mail
from notifications.events import NotificationQueued
from orders.events import OrderCreated
from shipping.consumers import prepare

pytestmark = pytest.mark.usefixtures("shop")


def failed(number: int = 1, error: str = "no address") -> GroupInFull:
    """A group of so many letters."""
    for _ in range(number):
        order = answered_order(but=[prepare])
        given_up(event_of(order.pk, OrderCreated.type), at=prepare, error=error)
    return again(letter_groups()[0].row.pk)


def again(group_id: int) -> GroupInFull:
    found = letter_group(group_id)
    assert found is not None
    return found


def act(name: str, group: GroupInFull, *roles: str, **form: Any) -> str:
    """What the page says after somebody did this to the group."""
    address = reverse(f"console:{name}-group", args=[group.group.row.pk])
    answer = signed_in(*(roles or ("operator",)), name=f"{name}-{len(form)}").post(address, form, follow=True)
    return answer.content.decode()


def test_a_group_says_what_it_means_and_what_helps() -> None:
    group = failed(2)
    html = signed_in("operator").get(f"/pipeline/dead-letters/?group={group.group.row.pk}").content.decode()
    for words in ("ValueError in", "no address", "What usually helps", "fix the code", "Try 2", "Replay …"):
        assert words in html


def test_trying_changes_nothing() -> None:
    group = failed()
    html = signed_in("operator").post(f"/pipeline/dead-letters/?group={group.group.row.pk}").content.decode()
    assert "Tried, and rolled back" in html
    assert "works" in html
    assert again(group.group.row.pk).group.opened == 1
    assert signed_in("auditor").post(f"/pipeline/dead-letters/?group={group.group.row.pk}").status_code == 403


def test_what_reaches_outside_is_not_tried() -> None:
    answered_order()
    queued = _mail_event()
    given_up(queued, at=deliver_mail)
    address = f"/pipeline/dead-letters/?group={letter_groups()[0].row.pk}"
    client = signed_in("operator")
    assert "reaches outside, as by sending mail now" in client.get(address).content.decode()
    assert "can&#x27;t be rolled back" in client.post(address).content.decode()


def _mail_event() -> UUID:
    return ArchivedEvent.objects.get(type=NotificationQueued.type).pk


def test_a_group_is_replayed_and_it_is_noted() -> None:
    group = failed(2)
    assert "2 go to shipping.prepare again" in act("replay", group, rate="5")
    assert "somebody was faster" in act("replay", group)
    assert LogEntry.objects.get().change_message == "Replayed 2 letters."


def test_many_are_replayed_only_by_who_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.views.letters.MANY", 1)
    group = failed(2)
    assert "type this number" in act("replay", group, number="3")
    assert "2 go to shipping.prepare again" in act("replay", group, number="2", rate="")


def test_what_is_resolved_keeps_its_note_and_says_what_stays_open() -> None:
    group = failed(2)
    html = act("resolve", group, note="fixed in 1.2")
    assert "2 of its letters stay open" in html
    assert "fixed in 1.2" in html
    row = again(group.group.row.pk).group.row
    assert (row.state, row.note, row.resolved_by) == ("resolved", "fixed in 1.2", "resolve-1")
    act("reopen", group)
    assert again(group.group.row.pk).group.row.state == "open"
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "Resolved. fixed in 1.2",
        "Opened again.",
    ]


def test_nothing_is_discarded_without_a_reason() -> None:
    group = failed()
    assert "Say in one line why" in act("discard", group)
    assert "Discarded 1: a test" in act("discard", group, reason="a test")
    assert again(group.group.row.pk).group.opened == 0
    assert LogEntry.objects.get().change_message == "Discarded 1 letters: a test"


@pytest.mark.parametrize("name", ["replay", "resolve", "discard", "reopen"])
def test_who_only_looks_can_change_nothing(name: str) -> None:
    group = failed()
    address = reverse(f"console:{name}-group", args=[group.group.row.pk])
    assert signed_in("auditor").post(address).status_code == 403
    assert signed_in("operator").post(reverse(f"console:{name}-group", args=[999])).status_code == 404


def test_groups_are_found_by_state_and_consumer() -> None:
    group = failed()
    client = signed_in("operator")
    shown = {
        query: "ValueError" in client.get(f"/pipeline/dead-letters/{query}").content.decode()
        for query in ("", "?state=all", "?state=resolved", "?consumer=shipping.prepare", "?consumer=orders.confirm")
    }
    assert shown == {
        "": True, "?state=all": True, "?state=resolved": False,
        "?consumer=shipping.prepare": True, "?consumer=orders.confirm": False,
    }  # fmt: skip
    assert client.get("/pipeline/dead-letters/?group=999&state=nonsense").status_code == 200
    assert group.group.days[-1] == 1


def test_the_stock_is_found_by_id_and_says_what_runs_out() -> None:
    receive_stock(product_id="rare", product_name="Rare", quantity=2)
    client = signed_in("dispatcher")
    html = client.get("/stock/?product=ra").content.decode()
    assert "low</span>" in html
    assert "Vase" not in html
    assert "Jug" in client.get("/stock/?after=").content.decode()
    assert "There is no such product" in client.get("/stock/?product=nothing").content.decode()
