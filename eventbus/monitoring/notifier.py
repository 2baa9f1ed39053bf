"""Notifies people of each change of an alarm, once: by mail and by webhook.

A receiver that was down gets what it missed at the next evaluation. A crash between its answer and our note of it sends
the notice again, as with any message: by the notice's id, which stays the same, the receiver knows a repeat.
"""

import json
import smtplib
import socket
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import monotonic
from typing import Any
from urllib.error import HTTPError

import structlog
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.db import transaction

from eventbus.conf import bus_settings
from eventbus.db.deadline import Deadline
from eventbus.monitoring.models import AlarmNotice
from eventbus.monitoring.rules import RULES

log = structlog.get_logger(__name__)

#: Seconds for one step of a call, such as to connect, and for all of it: a receiver may answer a byte at a time.
SOCKET_TIMEOUT = 5
CALL_DEADLINE = 10
#: Notices and seconds that a channel gets in a row: the rest goes out the next time.
AT_ONCE = 50
ROUND = 20
UNDELIVERED: tuple[type[Exception], ...] = (OSError, HTTPException, smtplib.SMTPException)


def channels() -> list[str]:
    """Where people are notified, by the settings."""
    is_set = {"mail": bus_settings.ALARM_EMAIL, "webhook": bus_settings.ALARM_WEBHOOK_URL}
    return [channel for channel, receiver in is_set.items() if receiver]


def deliver() -> int:
    """Send what waits for any channel; returns how many arrived."""
    return sum(deliver_over(channel) for channel in channels())


def deliver_over(channel: str) -> int:
    """Send what waits for this channel, oldest first; returns how many arrived. What fails is left for the next time,
    and so is what comes after it."""
    delivered, deadline = 0, monotonic() + ROUND
    waiting = AlarmNotice.objects.filter(channel=channel, delivered_at=None).order_by("id")
    for pk in list(waiting.values_list("pk", flat=True)[:AT_ONCE]):
        if monotonic() > deadline or not _deliver(pk):
            break
        delivered += 1
    return delivered


def was_sent(notice: AlarmNotice) -> bool:
    """Send one notice; returns whether it arrived, and notes in it why not."""
    notice.attempts += 1
    try:
        send(notice)
    except UNDELIVERED as error:
        notice.error = f"{type(error).__name__}: {error}"
        log.warning("alarm.not_delivered", alarm=str(notice), attempt=notice.attempts, error=notice.error)
        return False
    notice.error, notice.delivered_at = "", datetime.now(UTC)
    return True


def send(notice: AlarmNotice) -> None:
    """Send it over its channel, in CALL_DEADLINE seconds at most. Raises one of UNDELIVERED."""
    with Deadline(CALL_DEADLINE) as deadline:
        (post if notice.channel == "webhook" else send_mail)(notice, deadline)


def _deliver(pk: Any) -> bool:
    with transaction.atomic():
        # Claimed by the row's lock: another evaluation at the same time passes over it.
        unclaimed = AlarmNotice.objects.select_for_update(skip_locked=True)
        notice = unclaimed.filter(pk=pk, delivered_at=None).first()
        if notice is None:
            return False
        arrived = was_sent(notice)
        notice.save(update_fields=["attempts", "error", "delivered_at"])
        return arrived


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


def post(notice: AlarmNotice, deadline: Deadline) -> None:
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
    try:
        opener(deadline).open(request, timeout=SOCKET_TIMEOUT).close()
    except HTTPError as refusal:
        # An answer too, with its connection.
        refusal.close()
        raise


def opener(deadline: Deadline) -> urllib.request.OpenerDirector:
    """As `urlopen` opens addresses, and every connection is watched by the deadline."""

    def watched(kind: type[HTTPConnection]) -> Callable[..., HTTPConnection]:
        def make(*args: Any, **options: Any) -> HTTPConnection:
            made = kind(*args, **options)
            made._create_connection = deadline.connect  # type: ignore[attr-defined]
            return made

        return make

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(watched(HTTPConnection), request)

    class Encrypted(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(watched(HTTPSConnection), request)

    return urllib.request.build_opener(Plain, Encrypted)


def send_mail(notice: AlarmNotice, deadline: Deadline) -> None:
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
        connection=mail_connection(deadline),
    ).send()


def mail_connection(deadline: Deadline) -> BaseEmailBackend:
    """The mail server of the settings; over SMTP, watched by the deadline."""
    configured: BaseEmailBackend = get_connection()
    if not isinstance(configured, EmailBackend):
        return configured

    class Watched(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            return deadline.connect((host, port), min(timeout, SOCKET_TIMEOUT))

    class Encrypted(smtplib.SMTP_SSL):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            plain = deadline.connect((host, port), min(timeout, SOCKET_TIMEOUT))
            return self.context.wrap_socket(plain, server_hostname=host)

    class WatchedBackend(type(configured)):  # type: ignore[misc]
        @property
        def connection_class(self) -> type[smtplib.SMTP]:
            return Encrypted if self.use_ssl else Watched

    return WatchedBackend(timeout=SOCKET_TIMEOUT)
