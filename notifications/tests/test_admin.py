from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from eventbus.testing import ArchivedEvent
from notifications.models import Mail, State
from notifications.tests.builders import queued_mail

pytestmark = pytest.mark.django_db

MAILS = "/admin/notifications/mail/"


def clerk(*permissions: str) -> Client:
    """Someone of the staff with these permissions on mails."""
    user = User.objects.create_user("clerk", is_staff=True)
    codenames = ["view_mail", *permissions]
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="notifications", codename__in=codenames)
    )
    client = Client()
    client.force_login(user)
    return client


def mail_in(state: State, **fields: Any) -> Mail:
    mail, _ = queued_mail(**fields)
    Mail.objects.filter(pk=mail.pk).update(state=state)
    return mail


def resend(client: Client, *mails: Mail, **more: str) -> Any:
    return client.post(MAILS, {"action": "resend", "_selected_action": [str(mail.pk) for mail in mails], **more})


def queued_by(user: User) -> list[str]:
    rows = ArchivedEvent.objects.filter(type="notification.queued", user_id=str(user.pk))
    return [row.aggregate_id for row in rows]


def test_mails_are_found_by_order_address_and_state() -> None:
    ada = mail_in(State.SENT)
    bob = mail_in(State.UNKNOWN, customer_email="bob@customer.example")
    client = clerk()

    def found(**query: str) -> list[Any]:
        return [mail.pk for mail in client.get(MAILS, query).context["cl"].result_list]

    assert found(q=str(ada.order_id)) == [ada.pk]
    assert found(q="Bob@Customer.example") == [bob.pk]
    assert found(state="UNKNOWN") == [bob.pk]
    assert found(q="nobody") == []


def test_resending_asks_first_and_then_queues_what_is_stuck() -> None:
    doubted, refused, sent = mail_in(State.UNKNOWN), mail_in(State.FAILED), mail_in(State.SENT)
    client = clerk("resend_mail")
    question = resend(client, doubted, refused, sent)
    assert "a second time" in question.content.decode()
    assert set(question.context["mails"]) == {doubted, refused}
    assert Mail.objects.get(pk=doubted.pk).state == State.UNKNOWN
    assert resend(client, doubted, refused, sent, confirmed="yes").status_code == 302
    states = dict(Mail.objects.values_list("pk", "state"))
    assert states == {doubted.pk: State.QUEUED, refused.pk: State.QUEUED, sent.pk: State.SENT}
    assert set(queued_by(User.objects.get())) == {str(doubted.pk), str(refused.pk)}


def test_resending_has_a_permission_of_its_own() -> None:
    doubted = mail_in(State.UNKNOWN)
    client = clerk("change_mail")
    resend(client, doubted, confirmed="yes")
    assert Mail.objects.get(pk=doubted.pk).state == State.UNKNOWN
    assert client.get(f"{MAILS}add/").status_code == 403


def test_a_mail_is_shown_as_text() -> None:
    mail = mail_in(State.SENT)
    Mail.objects.filter(pk=mail.pk).update(text="<script>alert(1)</script>", html="<p>the other part</p>")
    page = clerk().get(f"{MAILS}{mail.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "the other part" not in page
