import socket

import pytest

from eventbus.db.deadline import Deadline


def test_a_connection_that_nobody_answers_is_cut_when_the_time_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError, match="within 0"):
        ask(silent.getsockname(), seconds=0.1)


def ask(address: tuple[str, int], *, seconds: float) -> None:
    with Deadline(seconds) as deadline, deadline.connect(address) as connection:
        if not connection.recv(1):
            raise ConnectionError("the end of the answer")


def test_a_connection_that_is_made_after_the_time_is_cut_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, Deadline(0.1) as deadline:
        with deadline.connect(silent.getsockname()) as first:
            assert first.recv(1) == b""
        with deadline.connect(silent.getsockname()) as second:
            assert second.recv(1) == b""


def test_what_fails_in_time_keeps_its_own_error() -> None:
    with pytest.raises(ValueError, match="my own"), Deadline(60):
        raise ValueError("my own")
