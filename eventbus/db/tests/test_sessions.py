from collections.abc import Iterator

import pytest
from django.db import connection

from eventbus.db.sessions import count_sessions, name_sessions
from eventbus.db.sql import fetch


@pytest.fixture
def restored_name() -> Iterator[None]:
    before = dict(connection.settings_dict["OPTIONS"])
    yield
    connection.settings_dict["OPTIONS"] = before
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_session_is_counted_by_the_name_of_its_process(restored_name: None) -> None:
    assert count_sessions("a process of this test") == 0
    name_sessions("a process of this test")
    assert count_sessions("a process of this test") == 1


@pytest.mark.django_db(transaction=True)
def test_a_process_has_settings_of_its_own_beside_those_of_all(restored_name: None) -> None:
    before = fetch("SHOW lock_timeout")
    name_sessions("a process of this test", idle_in_transaction_session_timeout="7s")
    assert fetch("SHOW idle_in_transaction_session_timeout") == [("7s",)]
    assert fetch("SHOW lock_timeout") == before
