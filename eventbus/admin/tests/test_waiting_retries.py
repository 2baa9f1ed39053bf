import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from eventbus.dead_letters.models import DeadLetter
from eventbus.retries.models import WaitingRetry
from eventbus.tests.builders import waiting_retry

pytestmark = pytest.mark.django_db

LIST = "admin:eventbus_waitingretry_changelist"


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_waitingretry", *permissions]))
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, action: str, retry: WaitingRetry, **more: str) -> str:
    chosen = {"action": action, "_selected_action": str(retry.pk), **more}
    return client.post(reverse(LIST), chosen, follow=True).content.decode()


def test_who_may_look_sees_what_waits_and_nothing_to_press() -> None:
    retry = waiting_retry(error="ValueError: the shelf is gone")
    client = staff()
    shown = client.get(reverse(LIST)).content.decode()
    assert "the shelf is gone" in shown
    assert "hurry_retries" not in shown
    assert "cancel_retries" not in shown
    page = client.get(reverse("admin:eventbus_waitingretry_change", args=[retry.pk])).content.decode()
    assert str(retry.event_id) in page
    assert "Body" not in page


def test_a_retry_is_hurried_after_a_question() -> None:
    retry = waiting_retry(after=600)
    client = staff("hurry_waiting_retry")
    assert "do not wait until they are due" in post(client, "hurry_retries", retry)
    assert WaitingRetry.objects.get().due_at == retry.due_at
    assert "1 of 1 retries" in post(client, "hurry_retries", retry, confirmed="yes")
    assert WaitingRetry.objects.get().due_at < retry.due_at


def test_a_retry_becomes_a_dead_letter_after_a_question() -> None:
    retry = waiting_retry()
    client = staff("cancel_waiting_retry")
    assert "can be read and replayed" in post(client, "cancel_retries", retry)
    assert not DeadLetter.objects.exists()
    assert "1 of 1 retries" in post(client, "cancel_retries", retry, confirmed="yes")
    assert "Cancelled by ada" in DeadLetter.objects.get().error_message
    assert not WaitingRetry.objects.exists()


@pytest.mark.parametrize("action", ["hurry_retries", "cancel_retries"])
def test_nobody_acts_without_permission(action: str) -> None:
    retry = waiting_retry(after=600)
    post(staff(), action, retry, confirmed="yes")
    assert WaitingRetry.objects.get().due_at == retry.due_at
