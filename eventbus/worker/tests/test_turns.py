import os
from typing import Any

import pytest

from eventbus.worker.turns import Turns


@pytest.fixture
def turns() -> Turns:
    made = Turns()
    made.open(2)
    return made


def test_a_run_has_the_turns_that_it_was_given(turns: Turns) -> None:
    pipe = turns.lend("run", 2)
    assert pipe is not None
    assert [turns.take(pipe) for _ in range(3)] == [True, True, False]


def test_what_was_not_begun_can_be_taken_back_once(turns: Turns) -> None:
    pipe = turns.lend("run", 5)
    assert pipe is not None
    turns.take(pipe)
    assert [turns.take_back("run"), turns.take_back("run")] == [4, 0]
    assert not turns.take(pipe)


def test_a_turn_is_taken_by_a_process_that_was_made_later(turns: Turns) -> None:
    pipe = turns.lend("run", 3)
    assert pipe is not None
    if (child := os.fork()) == 0:
        os._exit(0 if turns.take(pipe) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert turns.take_back("run") == 2


def test_what_a_run_left_behind_is_not_the_next_ones(turns: Turns) -> None:
    turns.lend("first", 5)
    turns.end("first")
    turns.lend("second", 2)
    assert [turns.take_back("first"), turns.take_back("second")] == [0, 2]


@pytest.mark.parametrize("end", [lambda turns, run: turns.end(run), lambda turns, _: turns.end_all()])
def test_where_all_are_lent_there_is_none_until_a_run_ends(turns: Turns, end: Any) -> None:
    runs = [object() for _ in range(3)]
    assert [turns.lend(run, 2) for run in runs] == [0, 1, None]
    end(turns, runs[1])
    assert turns.lend(runs[2], 2) is not None
