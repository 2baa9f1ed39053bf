"""A session that the server has ended is left before anybody asks it something."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from eventbus.db.sql import fetch

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def kept() -> None:
    """Django's connection stays from request to request, as in the web and in workers."""
    connection.close()
    connection.ensure_connection()
    connection.close_at = None


@pytest.fixture
def other() -> Iterator[psycopg.Connection]:
    """Another session, without transactions."""
    login = connection.get_connection_params() | {"cursor_factory": psycopg.ClientCursor}
    with psycopg.connect(**login, autocommit=True) as session:
        yield session


def own_session() -> int:
    return int(fetch("SELECT pg_backend_pid()")[0][0])


def end(session: int, other: psycopg.Connection) -> None:
    """As a server does that restarts; it is over when this returns."""
    other.execute("SELECT pg_terminate_backend(%s, 10000)", [session])


def test_a_session_that_was_ended_is_made_anew_before_the_next_request(other: psycopg.Connection) -> None:
    before = own_session()
    end(before, other)
    connection.close_if_unusable_or_obsolete()
    assert own_session() != before


def test_inside_a_transaction_nothing_is_made_anew_behind_its_back(other: psycopg.Connection) -> None:
    @transaction.atomic
    def work() -> int:
        end(own_session(), other)
        connection.close_if_unusable_or_obsolete()
        return own_session()

    with pytest.raises(OperationalError):
        work()
    connection.close()


def test_one_that_is_well_stays_and_loses_no_notification(other: psycopg.Connection) -> None:
    before = own_session()
    fetch("LISTEN something")
    other.execute("NOTIFY something, 'new'")
    # It has arrived when the answer to this has: the server sends both in order.
    fetch("SELECT pg_sleep(0.05)")
    other.execute("NOTIFY something, 'newer'")
    connection.close_if_unusable_or_obsolete()
    assert own_session() == before
    assert connection.connection is not None
    heard = list(connection.connection.notifies(timeout=5, stop_after=2))
    assert [each.payload for each in heard] == ["new", "newer"]
    fetch("UNLISTEN something")
