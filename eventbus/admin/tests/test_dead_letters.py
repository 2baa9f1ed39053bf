from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup, DeadLetterReplay, DeadLetterReplayItem
from eventbus.dead_letters.store import ingest
from eventbus.tests.builders import dead_letter, dead_message, parcel

pytestmark = pytest.mark.django_db

VIEW = ("view_deadletter", "view_deadlettergroup", "view_deadletterreplay")


def staff(*permissions: str) -> Client:
    user = User.objects.create_user(f"user-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=[*VIEW, *permissions]))
    client = Client()
    client.force_login(user)
    return client


def page(name: str, *args: object) -> str:
    return reverse(f"admin:eventbus_{name}", args=args)


def test_groups_come_first_and_say_how_many_are_open() -> None:
    dead_letter(error="look at me")
    shown = staff().get(page("deadlettergroup_changelist")).content.decode()
    assert "look at me" in shown
    assert "ValueError in parcel.track" in shown


def test_the_number_of_queries_does_not_grow_with_the_groups(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        place: dict[str, Any] = {"x-error-place": f"place {number}"}
        ingest([dead_message(**place)])
    assert DeadLetterGroup.objects.count() == 20
    client = staff()
    with django_assert_max_num_queries(12):
        client.get(page("deadlettergroup_changelist"))


def test_a_payload_is_for_those_who_may_read_it() -> None:
    one = dead_letter(parcel("secret-parcel"))
    DeadLetter.objects.update(aggregate_id="")
    hidden = staff().get(page("deadletter_change", one.pk)).content.decode()
    assert "raise ValueError(message)" in hidden
    assert "secret-parcel" not in hidden
    shown = staff("view_dead_letter_payload").get(page("deadletter_change", one.pk)).content.decode()
    assert "secret-parcel" in shown


@pytest.mark.parametrize("name", ["replay", "discard", "try"])
def test_a_letter_is_changed_by_post_only(name: str) -> None:
    one = dead_letter()
    client = staff("replay_dead_letter", "discard_dead_letter")
    assert client.get(page(f"deadletter_{name}", one.pk)).status_code == 405


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("deadletter", "replay"),
        ("deadletter", "discard"),
        ("deadletter", "try"),
        ("deadletter", "edit"),
        ("deadlettergroup", "replay"),
        ("deadlettergroup", "discard"),
        ("deadlettergroup", "resolve"),
        ("deadlettergroup", "reopen"),
        ("deadlettergroup", "note"),
    ],
)
def test_each_action_needs_its_permission(model: str, name: str) -> None:
    one = dead_letter()
    pk = one.pk if model == "deadletter" else one.group_id
    answer = staff().post(page(f"{model}_{name}", pk), {"confirmed": "yes", "reason": "x", "threshold": 50})
    assert answer.status_code == 403
    one.refresh_from_db()
    assert one.state == "open"


def test_a_post_without_csrf_token_is_refused() -> None:
    one = dead_letter()
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(page("deadletter_replay", one.pk), {"confirmed": "yes", "threshold": 50}).status_code == 403


def test_a_replay_asks_first_then_starts() -> None:
    one = dead_letter()
    client = staff("replay_dead_letter")
    asked = client.post(page("deadletter_replay", one.pk))
    assert "<strong>1</strong> open dead letter" in asked.content.decode()
    assert not DeadLetterReplay.objects.exists()

    client.post(page("deadletter_replay", one.pk), {"confirmed": "yes", "threshold": 20, "rate": 5})
    replay = DeadLetterReplay.objects.get()
    assert (replay.total, replay.rate, replay.threshold, replay.created_by) == (1, 5.0, 0.2, "user-0")
    assert client.get(page("deadletterreplay_change", replay.pk)).status_code == 200


def test_a_discard_wants_a_reason() -> None:
    one = dead_letter()
    client = staff("discard_dead_letter")
    client.post(page("deadletter_discard", one.pk), {"confirmed": "yes", "reason": ""})
    one.refresh_from_db()
    assert one.state == "open"
    client.post(page("deadletter_discard", one.pk), {"confirmed": "yes", "reason": "a test"})
    one.refresh_from_db()
    assert (one.state, one.discard_reason, one.settled_by) == ("discarded", "a test", "user-0")
    (line,) = LogEntry.objects.filter(object_id=str(one.pk))
    assert (line.user.username, line.change_message) == ("user-0", "Discarded: a test")


def test_whole_groups_are_replayed_from_the_list() -> None:
    group = dead_letter().group
    dead_letter()
    client = staff("replay_dead_letter")
    chosen = {"action": "replay_groups", "_selected_action": group.pk}
    asked = client.post(page("deadlettergroup_changelist"), chosen).content.decode()
    assert f'name="_selected_action" value="{group.pk}"' in asked
    client.post(page("deadlettergroup_changelist"), {**chosen, "confirmed": "yes", "threshold": 50})
    assert DeadLetterReplay.objects.get().total == 2


def test_letters_are_chosen_across_pages() -> None:
    ingest([dead_message() for _ in range(60)])
    client = staff("discard_dead_letter")
    chosen = {
        "action": "discard_letters",
        "select_across": "1",
        "_selected_action": DeadLetter.objects.earliest("pk").pk,
    }
    client.post(page("deadletter_changelist"), {**chosen, "confirmed": "yes", "reason": "all of them"})
    assert DeadLetter.objects.filter(state="discarded").count() == 60


def test_a_replay_is_paused_resumed_and_cancelled() -> None:
    one = dead_letter()
    client = staff("replay_dead_letter")
    client.post(page("deadletter_replay", one.pk), {"confirmed": "yes", "threshold": 50})
    replay = DeadLetterReplay.objects.get()
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("resume", "cancelled")):
        assert staff().post(page(f"deadletterreplay_{verb}", replay.pk)).status_code == 403
        client.post(page(f"deadletterreplay_{verb}", replay.pk))
        replay.refresh_from_db()
        assert replay.state == state


def test_an_edit_shows_the_difference_then_goes_and_is_kept() -> None:
    body = parcel("bad-1")
    one = dead_letter(body)
    client = staff("edit_dead_letter", "view_dead_letter_payload")
    mended = body.decode().replace("bad-1", "good-1")
    refused = client.post(page("deadletter_edit", one.pk), {"body": mended.replace('"good-1"', "1", 2)})
    assert "invalid" in refused.content.decode()

    asked = client.post(page("deadletter_edit", one.pk), {"body": mended}).content.decode()
    assert "good-1" in asked
    assert not DeadLetterReplay.objects.exists()

    client.post(page("deadletter_edit", one.pk), {"body": mended, "confirmed": "yes"})
    assert DeadLetterReplayItem.objects.select_related("edit").get().edit.edited_by == "user-0"  # type: ignore[union-attr]
    shown = client.get(page("deadletter_change", one.pk)).content.decode()
    assert "edited by user-0" in shown
    assert "good-1" in shown


def test_trying_needs_no_confirmation_and_changes_nothing() -> None:
    one = dead_letter(parcel())
    shown = staff("replay_dead_letter").post(page("deadletter_try", one.pk)).content.decode()
    assert "would publish <strong>parcel.tracked</strong>" in shown
    one.refresh_from_db()
    assert one.state == "open"


def test_a_group_is_resolved_noted_and_opened_again() -> None:
    group = dead_letter().group
    client = staff("resolve_dead_letter_group")
    client.post(page("deadlettergroup_note", group.pk), {"note": "see the notes"})
    client.post(page("deadlettergroup_resolve", group.pk), {"note": "see the runbook"})
    group.refresh_from_db()
    assert (group.state, group.note, group.resolved_by) == ("resolved", "see the runbook", "user-0")
    client.post(page("deadlettergroup_reopen", group.pk))
    group.refresh_from_db()
    assert group.state == "open"


def test_a_script_in_a_payload_is_only_text() -> None:
    one = dead_letter(b"<script>alert(1)</script>", error="<script>alert(2)</script>")
    shown = staff("view_dead_letter_payload").get(page("deadletter_change", one.pk)).content.decode()
    assert "<script>alert" not in shown


@pytest.mark.parametrize("search", ["p-1", "c-9", "nonsense", "' OR 1=1"])
def test_letters_are_searched_by_whole_ids(search: str) -> None:
    dead_letter(parcel())
    answer = staff().get(page("deadletter_changelist"), {"q": search})
    assert ("1 dead letter" in answer.content.decode()) is (search == "p-1")
