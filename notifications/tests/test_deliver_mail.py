"""Over real SMTP, to a server that may misbehave: at most one mail, and one wherever anybody can know."""

import re
import select
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from eventbus import PermanentFailure, RetryAfter, new_id
from eventbus.testing import deliver
from notifications import smtp
from notifications.consumers import deliver_mail
from notifications.events import NotificationQueued
from notifications.models import Mail, State
from notifications.services import BeingSent, resend_mail
from notifications.smtp import Handover, NotTaken
from notifications.tests.builders import queued_mail, times_announced
from notifications.tests.sink import Sink

pytestmark = pytest.mark.django_db


def state_of(mail: Mail) -> str:
    return Mail.objects.get(pk=mail.pk).state


def test_a_mail_is_sent_once_however_often_its_event_comes(sink: Sink) -> None:
    mail, event = queued_mail()
    deliver(event, to=deliver_mail)
    deliver(event, to=deliver_mail)
    # The same mail, announced anew: another event, which no inbox knows.
    deliver(NotificationQueued(**event.model_dump()), to=deliver_mail)
    assert len(sink.mails) == 1
    assert state_of(mail) == State.SENT
    assert Mail.objects.get(pk=mail.pk).sent_at is not None
    assert times_announced(mail.pk) == 1


def test_what_arrives_is_what_was_written(sink: Sink) -> None:
    mail, event = queued_mail()
    deliver(event, to=deliver_mail)
    (arrived,) = sink.mails
    assert arrived["To"] == "ada@customer.example"
    assert arrived["Subject"] == mail.subject
    assert arrived["Message-ID"] == mail.message_id
    assert arrived["Auto-Submitted"] == "auto-generated"
    for subtype, written in (("plain", mail.text), ("html", mail.html)):
        part = arrived.get_body((subtype,))
        assert part is not None
        assert part.get_content().splitlines() == written.splitlines()


def test_a_line_of_one_dot_does_not_end_the_mail(sink: Sink) -> None:
    mail, event = queued_mail()
    Mail.objects.filter(pk=mail.pk).update(text="before\n.\n..after\n")
    deliver(event, to=deliver_mail)
    part = sink.mails[0].get_body(("plain",))
    assert part is not None
    assert part.get_content().splitlines() == ["before", ".", "..after"]


def test_a_server_that_is_down_delays_the_mail(sink: Sink, settings: Any) -> None:
    mail, event = queued_mail()
    settings.EMAIL_PORT = 9
    with pytest.raises(NotTaken, match="ConnectionRefusedError"):
        deliver(event, to=deliver_mail)
    assert state_of(mail) == State.QUEUED
    assert "ConnectionRefusedError" in Mail.objects.get(pk=mail.pk).error
    settings.EMAIL_PORT = sink.port
    deliver(event, to=deliver_mail)
    assert len(sink.mails) == 1
    assert Mail.objects.get(pk=mail.pk).error == ""


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("on_mail", "451 Try later"),
        ("on_mail", "530 Log in first"),
        ("on_rcpt", "450 Greylisted"),
        ("on_content", "451 Try later"),
    ],
)
def test_what_may_heal_is_tried_again_and_sent_once(sink: Sink, step: str, answer: str) -> None:
    mail, event = queued_mail()
    setattr(sink, step, answer)
    for _ in range(2):
        with pytest.raises(NotTaken, match=answer):
            deliver(event, to=deliver_mail)
        assert state_of(mail) == State.QUEUED
    setattr(sink, step, "250 OK")
    deliver(event, to=deliver_mail)
    assert len(sink.mails) == 1
    assert state_of(mail) == State.SENT


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("on_rcpt", "450 4.7.1 Greylisted"),
        ("on_rcpt", "452 4.2.2 Mailbox full"),
        ("on_rcpt", "554 5.7.1 Relay access denied"),
        ("on_content", "451 4.7.1 Try later"),
        ("on_content", "550 5.7.1 Not from there"),
    ],
)
def test_what_is_said_of_one_mail_is_tried_again_for_itself_and_is_no_outage(
    sink: Sink, step: str, answer: str
) -> None:
    refused, refused_event = queued_mail()
    setattr(sink, step, answer)
    with pytest.raises(RetryAfter, match=re.escape(answer)):
        deliver(refused_event, to=deliver_mail)
    assert state_of(refused) == State.QUEUED
    setattr(sink, step, "250 OK")
    other, other_event = queued_mail()
    deliver(other_event, to=deliver_mail)
    assert state_of(other) == State.SENT
    # The connection was good for both.
    assert len(sink.servers) == 1


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("on_mail", "554 5.7.1 Client host blocked"),
        ("on_mail", "550 5.7.1 Sender rejected"),
        ("on_rcpt", "530 5.7.0 Log in first"),
        ("on_rcpt", "421 4.3.2 Closing"),
        ("on_content", "421 4.3.2 Closing"),
    ],
)
def test_what_is_said_of_us_is_an_outage_and_kills_no_mail(sink: Sink, step: str, answer: str) -> None:
    mail, event = queued_mail()
    setattr(sink, step, answer)
    with pytest.raises(NotTaken, match=re.escape(answer)) as refused:
        deliver(event, to=deliver_mail)
    assert not isinstance(refused.value, RetryAfter)
    assert state_of(mail) == State.QUEUED


def test_a_greeting_that_takes_longer_than_a_run_is_waited_for_by_the_next(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "PATIENCE_SECONDS", 0.1)
    mail, event = queued_mail()
    sink.may_greet.clear()
    for _ in range(3):
        with pytest.raises(NotTaken, match="not greeted"):
            deliver(event, to=deliver_mail)
    sink.may_greet.set()
    monkeypatch.setattr(smtp, "PATIENCE_SECONDS", 30)
    deliver(event, to=deliver_mail)
    assert state_of(mail) == State.SENT
    assert len(sink.servers) == 1


def test_a_connection_carries_one_mail_after_the_other(sink: Sink) -> None:
    for _ in range(3):
        _, event = queued_mail()
        deliver(event, to=deliver_mail)
    assert (len(sink.mails), len(sink.servers), sink.resets) == (3, 1, 0)


def test_behind_a_mail_that_was_refused_the_server_is_told_to_forget_it(sink: Sink) -> None:
    sink.on_rcpt = "450 Come back later"
    _, refused = queued_mail()
    with pytest.raises(RetryAfter):
        deliver(refused, to=deliver_mail)
    sink.on_rcpt = "250 OK"
    mail, event = queued_mail()
    deliver(event, to=deliver_mail)
    assert state_of(mail) == State.SENT
    assert (len(sink.mails), len(sink.servers), sink.resets) == (1, 1, 1)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(sink: Sink) -> None:
    _, first = queued_mail()
    deliver(first, to=deliver_mail)
    sink.hang_up_on_all()
    mail, event = queued_mail()
    deliver(event, to=deliver_mail)
    assert state_of(mail) == State.SENT
    assert len(sink.servers) == 2


@pytest.mark.parametrize(("step", "answer"), [("on_rcpt", "550 No such user"), ("on_content", "554 Spam")])
def test_what_never_heals_is_a_dead_letter_and_its_replay_tries_again(sink: Sink, step: str, answer: str) -> None:
    mail, event = queued_mail()
    setattr(sink, step, answer)
    with pytest.raises(PermanentFailure, match=answer):
        deliver(event, to=deliver_mail)
    assert state_of(mail) == State.FAILED
    assert times_announced(mail.pk) == 0
    setattr(sink, step, "250 OK")
    deliver(event, to=deliver_mail)
    assert len(sink.mails) == 1


def test_a_sender_that_is_none_is_not_the_mails_fault(sink: Sink, settings: Any) -> None:
    mail, event = queued_mail()
    settings.DEFAULT_FROM_EMAIL = "the shop"
    with pytest.raises(NotTaken):
        deliver(event, to=deliver_mail)
    assert state_of(mail) == State.QUEUED


@pytest.mark.parametrize(
    "address", ["ada@x.example\r\nBcc: all@x.example", "ada lovelace", "", "a@b@", "a b@x.example", "ü@x.example"]
)
def test_an_address_that_is_none_reaches_no_server(sink: Sink, address: str) -> None:
    mail, event = queued_mail()
    # No event of an order can carry such a one.
    Mail.objects.filter(pk=mail.pk).update(to=address)
    with pytest.raises(PermanentFailure) as refused:
        deliver(event, to=deliver_mail)
    assert state_of(mail) == State.FAILED
    assert sink.mails == []
    told = "".join(traceback.format_exception(refused.value)) + Mail.objects.get(pk=mail.pk).error
    assert not address or repr(address)[1:-1] not in told


def test_a_server_that_repeats_whom_it_refuses_is_not_quoted_with_it(sink: Sink) -> None:
    mail, event = queued_mail()
    sink.on_rcpt = f"550 5.1.1 <{mail.to}>: user {mail.to.split('@')[0]} is unknown"
    with pytest.raises(PermanentFailure) as refused:
        deliver(event, to=deliver_mail)
    error = Mail.objects.get(pk=mail.pk).error
    assert error == "The server refused the recipient: 550 5.1.1 <[address]>: user [address] is unknown"
    assert mail.to not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("taken", [True, False])
def test_an_answer_that_is_lost_leaves_the_mail_in_doubt_and_is_never_sent_again(sink: Sink, taken: bool) -> None:
    mail, event = queued_mail()
    sink.drops_before_answer = True
    sink.on_content = "250 OK" if taken else "421 Closing"
    with pytest.raises(OSError, match="closed"):
        deliver(event, to=deliver_mail)
    assert state_of(mail) == State.SENDING
    sink.drops_before_answer = False
    deliver(event, to=deliver_mail)
    assert state_of(mail) == State.UNKNOWN
    deliver(NotificationQueued(**event.model_dump()), to=deliver_mail)
    assert len(sink.mails) == taken
    assert times_announced(mail.pk) == 0


def test_an_answer_that_takes_too_long_leaves_the_mail_in_doubt(sink: Sink, settings: Any) -> None:
    mail, event = queued_mail()
    settings.EMAIL_TIMEOUT = 0.2
    sink.may_answer.clear()
    with pytest.raises(OSError, match="timed out"):
        deliver(event, to=deliver_mail)
    sink.may_answer.set()
    deliver(event, to=deliver_mail)
    assert state_of(mail) == State.UNKNOWN
    assert len(sink.mails) == 1


def test_a_server_that_hangs_up_before_the_content_has_nothing_and_gets_it_later(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail, event = queued_mail()
    sink.drops_before_content = True
    end = Handover.end

    def end_when_the_server_is_gone(handover: Handover) -> None:
        # Otherwise the end of the connection may still be on its way, and nobody knows.
        assert handover.server.sock is not None
        assert select.select([handover.server.sock], [], [], 10)[0], "The server never hung up."
        end(handover)

    monkeypatch.setattr(Handover, "end", end_when_the_server_is_gone)
    with pytest.raises(NotTaken):
        deliver(event, to=deliver_mail)
    assert state_of(mail) == State.QUEUED
    sink.drops_before_content = False
    monkeypatch.undo()
    deliver(event, to=deliver_mail)
    assert len(sink.mails) == 1


def test_a_server_that_is_too_slow_to_answer_in_time_is_not_given_the_mail(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail, event = queued_mail()
    monkeypatch.setattr(smtp, "HANDSHAKE_SECONDS", 0)
    with pytest.raises(NotTaken, match="too slow"):
        deliver(event, to=deliver_mail)
    assert sink.asked == 1
    assert sink.mails == []
    assert state_of(mail) == State.QUEUED


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_is_being_sent_is_left_to_its_sender(sink: Sink) -> None:
    mail, event = queued_mail()
    sink.may_answer.clear()

    def send() -> None:
        try:
            deliver(event, to=deliver_mail)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        assert sink.has_content.wait(10), "The mail server never got the content."
        assert state_of(mail) == State.SENDING
        with pytest.raises(BeingSent):
            deliver(event, to=deliver_mail)
        assert state_of(mail) == State.SENDING
        sink.may_answer.set()
        sending.result(timeout=10)
    assert state_of(mail) == State.SENT
    assert deliver(event, to=deliver_mail) == 0
    assert len(sink.mails) == 1


def test_a_person_may_send_a_mail_in_doubt_again(sink: Sink) -> None:
    mail, event = queued_mail()
    Mail.objects.filter(pk=mail.pk).update(state=State.UNKNOWN)
    assert resend_mail(mail.pk)
    deliver(NotificationQueued(**event.model_dump()), to=deliver_mail)
    assert len(sink.mails) == 1
    assert not resend_mail(mail.pk)


def test_an_event_about_a_mail_that_does_not_exist_is_given_up() -> None:
    event = NotificationQueued(mail_id=new_id(), order_id=new_id(), kind="confirmation")
    with pytest.raises(Mail.DoesNotExist):
        deliver(event, to=deliver_mail)
    assert Mail.DoesNotExist in deliver_mail.retry.give_up_on
