import pytest
from django.db import connection

from eventbus.contracts.versions import ROUTING_KEY, event_type_of, routing_key


@pytest.mark.django_db
@pytest.mark.parametrize("version", ["1.0", "1.12", "10.2", "2", "2.0.1", ""])
@pytest.mark.parametrize("event_type", ["order.created", "order.v2.moved", "o"])
def test_sql_and_python_make_the_same_routing_key(event_type: str, version: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {ROUTING_KEY} FROM (SELECT %s AS type, %s AS version) AS e", [event_type, version])
        assert cursor.fetchone() == (routing_key(event_type, version),)


def test_a_routing_key_has_the_type_and_the_major_version() -> None:
    assert routing_key("order.created", "2.1") == "order.created.v2"
    assert event_type_of("order.v2.moved.v3") == "order.v2.moved"
