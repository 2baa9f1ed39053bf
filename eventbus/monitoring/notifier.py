"""Notifies people of each change of an alarm, once: by mail and by webhook.

A receiver that was down gets what it missed at the next evaluation. A crash between its answer and our note of it sends
the notice again, as with any message: by the notice's id, which stays the same, the receiver knows a repeat.
"""

import json
import smtplib
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

import structlog
from django.core.mail import EmailMessage
from django.db import transaction

from eventbus.conf import bus_settings
from eventbus.monitoring.models import AlarmNotice
from eventbus.monitoring.rules import RULES

log = structlog.get_logger(__name__)

WEBHOOK_TIMEOUT = 5
#: Per evaluation and channel: a long list must not keep the next evaluation waiting.
AT_ONCE = 50
UNDELIVERED: tuple[type[Exception], ...] = (OSError, HTTPException, smtplib.SMTPException)


def deliver() -> int:
    """Send what waits, oldest first; returns how many arrived. A channel that fails is left for the next evaluation."""
    channels: dict[str, Callable[[AlarmNotice], None]] = {}
    if bus_settings.ALARM_EMAIL:
        channels["mail"] = send_mail
    if bus_settings.ALARM_WEBHOOK_URL:
        channels["webhook"] = post
    delivered = 0
    for channel, send in channels.items():
        waiting = AlarmNotice.objects.filter(channel=channel, delivered_at=None).order_by("id")
        for pk in list(waiting.values_list("pk", flat=True)[:AT_ONCE]):
            if not _deliver(pk, send):
                break
            delivered += 1
    return delivered


def _deliver(pk: Any, send: Callable[[AlarmNotice], None]) -> bool:
    with transaction.atomic():
        # Claimed by the row's lock: another evaluation at the same time passes over it.
        unclaimed = AlarmNotice.objects.select_for_update(skip_locked=True)
        notice = unclaimed.filter(pk=pk, delivered_at=None).first()
        if notice is None:
            return False
        notice.attempts += 1
        try:
            send(notice)
        except UNDELIVERED as error:
            notice.error = f"{type(error).__name__}: {error}"
            log.warning("alarm.not_delivered", alarm=str(notice), attempt=notice.attempts, error=notice.error)
        else:
            notice.error, notice.delivered_at = "", datetime.now(UTC)
        notice.save(update_fields=["attempts", "error", "delivered_at"])
        return notice.delivered_at is not None


def as_data(notice: AlarmNotice) -> dict[str, Any]:
    """What the webhook gets."""
    rule = RULES.get(notice.name)
    return {
        "id": str(notice.id),
        "alarm": notice.name,
        "subject": notice.subject,
        "state": notice.state,
        "value": notice.value,
        "threshold": rule.threshold if rule else None,
        "measures": rule.measures if rule else "",
        "advice": rule.advice if rule else "",
        "changedAt": notice.changed_at.isoformat(),
    }


def post(notice: AlarmNotice) -> None:
    """POST it to ALARM_WEBHOOK_URL. Raises OSError or HTTPException unless the answer is a success."""
    request = urllib.request.Request(
        bus_settings.ALARM_WEBHOOK_URL,
        data=json.dumps(as_data(notice)).encode(),
        headers={
            "Content-Type": "application/json",
            "User-Agent": bus_settings.USER_AGENT,
            "Idempotency-Key": str(notice.id),
        },
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT):
        pass


def send_mail(notice: AlarmNotice) -> None:
    """Mail it to ALARM_EMAIL. Raises OSError or SMTPException."""
    data = as_data(notice)
    lines = [
        f"{notice.name} {notice.subject or ''} is {notice.state} since {notice.changed_at:%Y-%m-%d %H:%M:%S} UTC.",
        f"It measures: {data['measures']}.",
        f"Value {notice.value:g}, threshold {data['threshold']}.",
        "",
        data["advice"] if notice.state == "firing" else "Nothing needs to be done.",
    ]
    EmailMessage(
        subject=f"[{notice.state}] {notice.name} {notice.subject}".rstrip(),
        body="\n".join(lines) + "\n",
        to=bus_settings.ALARM_EMAIL,
        headers={"Message-ID": f"<{notice.id}@alarms.invalid>"},
    ).send()
