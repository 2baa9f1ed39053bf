"""A database error names the rule and not the row: it goes into logs, dead letters and Flower."""

import pytest
from django.db import DatabaseError, connection, transaction

ADA = "ada.lovelace@home.example"

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("INSERT INTO customer VALUES (%s)", "duplicate key value violates unique constraint"),
        ("INSERT INTO customer VALUES (%s || ' ')", "violates check constraint"),
        ("INSERT INTO customer VALUES (NULLIF(%s, '') || NULL)", "null value in column"),
        ("""SELECT ('{"email": ' || %s::text || '}')::json""", "invalid input syntax for type json"),
        ("SELECT %s::text::uuid", "invalid input syntax for type uuid"),
        ("SELECT %s::text::timestamptz", "invalid input syntax for type timestamp with time zone"),
    ],
)
def test_what_the_database_refuses_is_not_repeated(statement: str, said: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE customer (email text PRIMARY KEY CHECK (email NOT LIKE '% '))")
        cursor.execute("INSERT INTO customer VALUES (%s)", [ADA])
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            cursor.execute(statement, [ADA])
        cursor.execute("DROP TABLE customer")
    for error in (refused.value, refused.value.__cause__):
        assert said in str(error)
        assert "SQLSTATE" in str(error)
        assert "lovelace" not in f"{error!r} {error}"


def test_other_errors_explain_themselves() -> None:
    with pytest.raises(DatabaseError, match="LINE 1"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT misspelt")
