import os
import signal

import pytest

from eventbus import failpoints
from eventbus.checks.celery import failpoint_exists


@pytest.mark.parametrize(
    ("active", "expected"), [("", []), ("relay.after_claim", []), ("relay.anywhere", ["eventbus.E002"])]
)
def test_a_failpoint_that_nobody_knows_is_an_error(
    monkeypatch: pytest.MonkeyPatch, active: str, expected: list[str]
) -> None:
    monkeypatch.setattr(failpoints, "ACTIVE", active)
    assert [message.id for message in failpoint_exists()] == expected


def test_only_the_active_failpoint_kills_and_does_so_at_once() -> None:
    child = os.fork()
    if child == 0:
        failpoints.ACTIVE = "relay.after_claim"
        failpoints.failpoint("relay.after_confirm")
        failpoints.failpoint("relay.after_claim")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
