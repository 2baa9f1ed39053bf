"""A connection whose bytes are swallowed and acknowledged, as by a proxy that is sick or a server that is frozen."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import OperationalError, connection, transaction

from eventbus.db.postgresql import watched
from eventbus.db.postgresql.watched import WatchedConnection
from eventbus.db.sql import fetch

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(watched, "PATIENCE", 0.3)
    yield
    connection.close()


@contextmanager
def swallowed(handle: WatchedConnection) -> Iterator[None]:
    """From now on nothing of what it says arrives, and nobody hears of an end."""
    with ExitStack() as open_ends:
        ours, theirs = socket.socketpair()
        open_ends.enter_context(ours)
        open_ends.enter_context(theirs)
        before = os.dup(handle.fileno())
        open_ends.callback(os.close, before)
        os.dup2(ours.fileno(), handle.fileno())
        yield


def test_a_question_that_never_arrived_is_given_up_and_the_next_one_has_a_new_connection() -> None:
    connection.ensure_connection()
    with swallowed(connection.connection), pytest.raises(OperationalError, match="no answer within"):
        fetch("SELECT 1")
    connection.close_if_unusable_or_obsolete()
    assert fetch("SELECT 1") == [(1,)]


def test_a_statement_may_take_as_long_as_the_server_is_at_it() -> None:
    # Longer than several times our patience, and than an answer may be on its way.
    assert fetch("SELECT 1 FROM pg_sleep(3)") == [(1,)]


def test_a_transaction_whose_connection_is_lost_ends_at_once() -> None:
    with pytest.raises(OperationalError), transaction.atomic(), swallowed(connection.connection):
        fetch("SELECT 1")
    assert fetch("SELECT 1") == [(1,)]


def test_sessions_whose_statements_are_short_wait_no_longer_than_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "ANSWER_WITHIN", 1)
    with pytest.raises(OperationalError, match="no answer within 1 s"):
        fetch("SELECT pg_sleep(60)")
