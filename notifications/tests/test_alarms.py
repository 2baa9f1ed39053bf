from datetime import timedelta
from typing import cast

import pytest
from django.utils import timezone

from eventbus import Observation
from notifications.alarms import mails_stuck
from notifications.models import Mail, State
from notifications.tests.builders import queued_mail

pytestmark = pytest.mark.django_db

NOTHING = cast(Observation, None)


def mail_in(state: State, *, days_ago: float = 0) -> None:
    mail, _ = queued_mail()
    Mail.objects.filter(pk=mail.pk).update(state=state, created_at=timezone.now() - timedelta(days=days_ago))


def test_mails_that_were_refused_or_are_in_doubt_are_counted_by_state() -> None:
    for state in (State.QUEUED, State.SENDING, State.SENT):
        mail_in(state)
    assert mails_stuck(NOTHING) == {}
    for state in (State.FAILED, State.FAILED, State.UNKNOWN):
        mail_in(state)
    assert mails_stuck(NOTHING) == {"FAILED": 2, "UNKNOWN": 1}


def test_one_that_nobody_can_help_does_not_fire_for_ever() -> None:
    mail_in(State.FAILED, days_ago=3)
    assert mails_stuck(NOTHING) == {}
