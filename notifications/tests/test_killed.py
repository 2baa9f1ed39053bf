"""The process that sends a mail is killed, as by kill -9, at the two points that matter."""

import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from eventbus.testing import deliver
from notifications.consumers import deliver_mail
from notifications.models import Mail, State
from notifications.tests.builders import queued_mail, times_announced
from notifications.tests.sink import Sink

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults]

SEND = "import django; django.setup(); from notifications.services import deliver_mail; deliver_mail({!r})"


def send_and_die(mail: Mail, sink: Sink, failpoint: str) -> None:
    """Send the mail from a process of its own, which is killed at this point."""
    database = connection.settings_dict
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.test_settings",
        "DATABASE_URL": "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format_map(database),
        # It would lead to another database.
        "OWNER_DATABASE_URL": "",
        "EMAIL_URL": f"smtp://127.0.0.1:{sink.port}",
        "FAILPOINT": failpoint,
    }
    died = subprocess.run([sys.executable, "-c", SEND.format(str(mail.pk))], env=environment, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL


def test_killed_before_the_claim_the_mail_is_sent_by_the_next(sink: Sink) -> None:
    mail, event = queued_mail()
    send_and_die(mail, sink, "mail.before_send")
    assert sink.asked == 1
    assert sink.mails == []
    deliver(event, to=deliver_mail)
    assert len(sink.mails) == 1
    assert Mail.objects.get(pk=mail.pk).state == State.SENT
    assert times_announced(mail.pk) == 1


def test_killed_after_the_answer_the_mail_is_in_doubt_and_not_sent_again(sink: Sink) -> None:
    mail, event = queued_mail()
    send_and_die(mail, sink, "mail.after_send")
    deliver(event, to=deliver_mail)
    assert len(sink.mails) == 1
    assert Mail.objects.get(pk=mail.pk).state == State.UNKNOWN
