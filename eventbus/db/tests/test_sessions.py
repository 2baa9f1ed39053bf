from collections.abc import Iterator

import pytest
from django.db import connection

from eventbus.db.sessions import count_sessions, name_sessions


@pytest.fixture
def restored_name() -> Iterator[None]:
    name = connection.settings_dict["OPTIONS"]["application_name"]
    yield
    name_sessions(name)


@pytest.mark.django_db(transaction=True)
def test_a_session_is_counted_by_the_name_of_its_process(restored_name: None) -> None:
    assert count_sessions("a process of this test") == 0
    name_sessions("a process of this test")
    assert count_sessions("a process of this test") == 1
