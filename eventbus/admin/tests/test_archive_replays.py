from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from eventbus.declaration import consumer
from eventbus.replays.models import ArchiveReplay
from eventbus.subscriptions.noting import note_subscriptions
from eventbus.tests.builders import archive_replay, handled, happened
from eventbus.tests.samples import ParcelSent, track

pytestmark = pytest.mark.django_db


def staff(*permissions: str) -> Client:
    user = User.objects.create_user(f"user-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def page(name: str, *args: object) -> str:
    return reverse(f"admin:eventbus_{name}", args=args)


def test_the_list_shows_how_far_each_is() -> None:
    happened(3)
    replay = archive_replay()
    ArchiveReplay.objects.update(sent=2)
    shown = staff("view_archivereplay").get(page("archivereplay_changelist")).content.decode()
    assert "2 of 3" in shown
    assert "Replay archive</a>" not in shown
    one = staff("view_archivereplay").get(page("archivereplay_change", replay.pk)).content.decode()
    assert "parcel.sent.v1" in one
    assert 'value="Pause"' not in one


def test_it_counts_first_and_starts_when_it_is_confirmed() -> None:
    ids = happened(3)
    handled(ids[:1])
    ada = staff("view_archivereplay", "replay_events")
    assert "Replay archive</a>" in ada.get(page("archivereplay_changelist")).content.decode()
    form = {"consumer": track.name, "types": ["parcel.sent"], "rate": "7"}
    counted = ada.post(page("archivereplay_start"), form).content.decode()
    assert "<strong>2</strong> events to parcel.track" in counted
    assert not ArchiveReplay.objects.exists()
    assert ada.post(page("archivereplay_start"), {**form, "confirmed": "Start"}).status_code == 302
    replay = ArchiveReplay.objects.get()
    assert (replay.total, replay.rate, replay.state) == (2, 7.0, "running")


def test_it_says_what_makes_no_sense() -> None:
    mail = consumer("parcel.mail", on=[ParcelSent], side_effects=True)(lambda event: None)
    happened(1)
    ada = staff("replay_events")
    refused = ada.post(page("archivereplay_start"), {"consumer": mail.name}).content.decode()
    assert "reaches outside the database" in refused
    assert (
        "Would send"
        in ada.post(page("archivereplay_start"), {"consumer": mail.name, "side_effects": "on"}).content.decode()
    )
    wrong = ada.post(
        page("archivereplay_start"), {"consumer": track.name, "types": ["parcel.tracked"]}
    ).content.decode()
    assert "does not listen to parcel.tracked" in wrong
    nothing = ada.post(page("archivereplay_start"), {"consumer": track.name, "aggregate_id": "none"}).content.decode()
    assert "No archived event" in nothing


def test_it_is_paused_resumed_and_cancelled_by_post() -> None:
    happened(1)
    pk = archive_replay().pk
    ada = staff("view_archivereplay", "replay_events")
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert ada.get(page(f"archivereplay_{verb}", pk)).status_code == 405
        ada.post(page(f"archivereplay_{verb}", pk))
        assert ArchiveReplay.objects.get().state == state
    again = ada.post(page("archivereplay_resume", pk), follow=True).content.decode()
    assert "is cancelled; that needs one that is paused" in again


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "start"])
def test_each_needs_the_permission(verb: str) -> None:
    happened(1)
    args: list[UUID] = [] if verb == "start" else [archive_replay().pk]
    assert staff("view_archivereplay").post(page(f"archivereplay_{verb}", *args)).status_code == 403


def test_who_listens_to_what_is_a_page_for_those_who_may_see_the_pipeline() -> None:
    note_subscriptions()
    shown = staff("view_pipeline").get(page("subscription_changelist")).content.decode()
    assert "parcel.track_all" in shown
    assert "worker_parcel" in shown
    assert "<em>nobody</em>" in shown
    assert staff().get(page("subscription_changelist")).status_code == 403
    assert "Consumers" in staff("view_pipeline").get(reverse("admin:index")).content.decode()
