"""What makes a process break on purpose works in the tests alone."""

import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT


@pytest.mark.parametrize("variable", ["FAILPOINT", "CHAOS_BREAKAGE"])
def test_what_breaks_a_process_on_purpose_is_refused_outside_the_tests(variable: str) -> None:
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings", variable: "relay.after_claim"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"Unset {variable}" in done.stderr
