import os
import signal
from typing import Any

import pytest
from django.core.checks import CheckMessage

from eventbus import failpoints
from eventbus.checks import failpoints_are_for_tests


def found() -> list[str | None]:
    messages: list[CheckMessage] = failpoints_are_for_tests()
    return [message.id for message in messages]


@pytest.mark.parametrize(
    ("active", "allowed", "expected"),
    [
        ("", False, []),
        ("", True, []),
        ("relay.after_claim", True, []),
        ("relay.after_claim", False, ["eventbus.E001"]),
        ("relay.anywhere", True, ["eventbus.E002"]),
    ],
)
def test_a_failpoint_is_an_error_unless_it_is_known_and_allowed(
    monkeypatch: pytest.MonkeyPatch, settings: Any, active: str, allowed: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(failpoints, "ACTIVE", active)
    settings.FAILPOINTS_ALLOWED = allowed
    assert found() == expected


def test_only_the_active_failpoint_kills_and_does_so_at_once() -> None:
    child = os.fork()
    if child == 0:
        failpoints.ACTIVE = "relay.after_claim"
        failpoints.failpoint("relay.after_confirm")
        failpoints.failpoint("relay.after_claim")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
