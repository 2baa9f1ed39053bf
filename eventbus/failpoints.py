"""Named points at which tests kill the process: `FAILPOINT=relay.after_confirm`. Refused outside test settings."""

import os
import signal

from django.core.exceptions import ImproperlyConfigured

from eventbus.conf import bus_settings

ACTIVE = os.environ.get("FAILPOINT", "")

NAMES = frozenset(
    {
        "intake.before_commit",
        "intake.after_commit",
        "relay.after_claim",
        "relay.after_confirm",
        "retries.after_confirm",
        "event_replay.after_send",
        "consumer.before_commit",
        "consumer.after_commit",
        "consumer.after_retry",
        "mail.before_send",
        "mail.after_send",
        "webhook.before_send",
        "webhook.after_send",
        "rebuild.in_window",
        "rebuild.after_window",
        "rebuild.before_swap",
        "rebuild.after_swap",
        "reconcile.before_removing",
    }
)


def refuse_where_not_allowed() -> None:
    """Raises ImproperlyConfigured where the environment asks a process to break that is not a test's."""
    if ACTIVE and not bus_settings.FAILPOINTS_ALLOWED:
        raise ImproperlyConfigured("Unset FAILPOINT: this process would kill itself there. Only tests use it.")


def failpoint(name: str) -> None:
    """Die here, as by kill -9, if the environment asks for this point."""
    if name == ACTIVE:
        os.kill(os.getpid(), signal.SIGKILL)
