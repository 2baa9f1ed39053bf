"""What makes a process break on purpose works in the tests and the tools alone."""

import os
import subprocess
import sys

import pytest

from script._lib.local import ROOT

LOCKS = "from inventory import services; print('FOR UPDATE' in services.LOCK)"


def run(settings: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": settings} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_failpoint_is_refused_outside_the_tests() -> None:
    done = run("config.settings", "check", FAILPOINT="relay.after_claim")
    assert done.returncode != 0
    assert "Unset FAILPOINT" in done.stderr


@pytest.mark.parametrize(
    ("settings", "locked"),
    [("config.settings", "True"), ("config.test_settings", "True"), ("tools.chaos.settings", "False")],
)
def test_a_breakage_breaks_nothing_outside_chaos(settings: str, locked: str) -> None:
    done = run(settings, "shell", "-v0", "-c", LOCKS, CHAOS_BREAKAGE="unlocked-stock")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [locked]


def test_a_breakage_that_nobody_knows_is_refused_by_chaos() -> None:
    done = run("tools.chaos.settings", "check", CHAOS_BREAKAGE="nonsense")
    assert done.returncode != 0
    assert "There is no breakage 'nonsense'" in done.stderr
