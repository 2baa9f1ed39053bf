"""`script/chaos`: three minutes of it, and the proof that its checker sees what it must."""

import json
import os
import subprocess
from typing import Any

import pytest

from script._lib.local import ROOT
from tools.chaos.trials import TRIALS

pytestmark = [pytest.mark.live, pytest.mark.faults, pytest.mark.long]

SEED = 7


def run_chaos(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what it printed as JSON, and what it said."""
    done = subprocess.run(
        [ROOT / "script/chaos", "--json", *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_three_minutes_of_faults_lose_nothing_and_double_nothing() -> None:
    code, (details, last), said = run_chaos("--minutes", "3", "--orders", "600", "--seed", str(SEED))

    assert details["findings"] == [], said
    assert (last["lost"], last["doubled"], last["limbo"]) == (0, 0, 0)
    assert last["attempted"] == last["accepted"] == 600
    assert last["faults"] >= 50
    assert last["recovered"] > 100
    assert code == 0


@pytest.fixture(scope="module")
def trials() -> dict[str, dict[str, Any]]:
    """What the checker says of each breakage. One run for all: most of the time goes into starting."""
    _, told, said = run_chaos("--breakage", "all")
    assert len(told) == len(TRIALS), said
    return {each["breakage"]: each for each in told}


@pytest.mark.parametrize("breakage", TRIALS)
def test_the_checker_catches(breakage: str, trials: dict[str, dict[str, Any]]) -> None:
    told = trials[breakage]
    assert told["lost"] + told["doubled"] + told["limbo"] > 0, told
