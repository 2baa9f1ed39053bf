"""Which faults `script/chaos` plans, and what it gives others to eat."""

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from eventbus import InvalidEvent, new_id
from eventbus.contracts.codec import decode
from script._lib.local import ROOT
from tools.chaos import faults, poison
from tools.chaos.customers import wishes
from tools.chaos.kinds import KINDS
from tools.chaos.plan import REST, plan
from tools.harness.servers import MAIL

SEED = 7


def test_the_same_seed_is_the_same_run() -> None:
    assert plan(SEED, 3) == plan(SEED, 3) != plan(SEED + 1, 3)
    assert wishes(SEED, 100) == wishes(SEED, 100) != wishes(SEED + 1, 100)


def test_every_kind_comes_in_time_and_lasts_as_long_as_it_may() -> None:
    planned = plan(SEED, 60)
    assert {fault.action for fault in planned} == {*KINDS}
    for fault in planned:
        shortest, longest = KINDS[fault.action].lasts
        assert shortest <= fault.seconds <= longest


def test_a_server_that_was_hit_is_left_alone_for_a_while() -> None:
    for target, rest in REST.items():
        hits = [fault for fault in plan(SEED, 60) if fault.target == target]
        for one, other in pairwise(hits):
            assert one.at + one.seconds + rest <= other.at


@pytest.mark.parametrize("minutes", [0.5, 1, 10])
def test_greylisted_mails_can_come_within_a_minute_of_the_end(minutes: float) -> None:
    for fault in plan(SEED, minutes, ["greylist"]):
        assert fault.at + fault.seconds + 30 <= minutes * 60
        assert fault.target == MAIL


def test_only_what_is_asked_for_strikes() -> None:
    assert {fault.action for fault in plan(SEED, 3, ["poison", "lock"])} == {"poison", "lock"}


def test_what_the_machine_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "LIBRARY", None)
    assert any("faketime" in line for line in faults.left_out())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (poison.with_a_nul, "invalid_data"),
        (poison.not_json, "not_json"),
        (poison.of_an_unknown_version, "unknown_version"),
    ],
)
def test_poison_is_poison_for_one_reason(make: poison.Make, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(make(new_id()))
    assert refused.value.reason == reason


def test_only_its_handler_refuses_an_event_about_no_order() -> None:
    assert decode(poison.of_no_order(new_id())).type == "inventory.reserved"


def test_it_needs_nothing_of_whoever_starts_it(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LOCAL_DIR": str(tmp_path)}
    done = subprocess.run([ROOT / "script/chaos", "--help"], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--faults" in done.stdout
