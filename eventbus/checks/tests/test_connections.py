from typing import Any

import pytest

from eventbus.checks.connections import nobody_listens_on_the_way


@pytest.fixture
def found(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks the check, with these settings; ids and texts of what it says."""
    monkeypatch.delenv("PGSSLMODE", raising=False)

    def ask(host: str = "", sslmode: str = "", **others: Any) -> list[tuple[str, str]]:
        monkeypatch.setitem(settings.DATABASES["default"], "HOST", host)
        monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", {"sslmode": sslmode} if sslmode else {})
        for name, value in others.items():
            setattr(settings, name, value)
        said = nobody_listens_on_the_way()
        assert all(each.hint for each in said)
        return [(str(each.id), f"{each.msg} {each.hint}") for each in said]

    return ask


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "::1", "/run/postgresql"])
def test_what_stays_on_this_machine_needs_no_tls(found: Any, host: str) -> None:
    assert found(host) == []


@pytest.mark.parametrize(
    ("sslmode", "is_fine"), [("", False), ("require", False), ("verify-ca", True), ("verify-full", True)]
)
def test_a_database_elsewhere_is_verified(found: Any, sslmode: str, is_fine: bool) -> None:
    said = found("127.0.0.1,db.example", sslmode)
    assert [number for number, _ in said] == ([] if is_fine else ["eventbus.W102"])
    assert is_fine or "db.example" in said[0][1]


def test_so_is_the_way_through_a_pooler(found: Any) -> None:
    pooled = {"HOST": "pooler.example", "OPTIONS": {}}
    assert [number for number, _ in found("db.example", "verify-full", EVENTBUS_POOLED_DATABASE=pooled)] == [
        "eventbus.W102"
    ]


def test_the_environment_of_libpq_counts(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert found("db.example") == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("amqp://mq.example", "RabbitMQ on mq.example is reached without TLS."),
        ("amqps://mq.example?verify=verify_none", "RabbitMQ on mq.example is reached without a look at"),
        ("amqps://mq.example", None),
        ("amqp://127.0.0.1;amqp://localhost", None),
    ],
)
def test_a_broker_elsewhere_is_verified(found: Any, url: str, says: str | None) -> None:
    said = found(EVENTBUS_BROKER_URL=url)
    assert [number for number, _ in said] == (["eventbus.W103"] if says else [])
    assert not says or said[0][1].startswith(says)


def test_so_is_the_broker_for_those_who_declare(found: Any) -> None:
    ((number, text),) = found(
        EVENTBUS_BROKER_URL="amqps://mq.example", EVENTBUS_DECLARING_BROKER_URL="amqp://mq.example"
    )
    assert number == "eventbus.W103"
    assert "Let DECLARING_BROKER_URL begin with amqps://" in text


def test_so_are_the_management_api_and_the_mail_server(found: Any) -> None:
    said = found(EVENTBUS_MANAGEMENT_URL="http://u:p@mq.example:15672", EMAIL_HOST="smtp.example", EMAIL_USE_TLS=False)
    assert [number for number, _ in said] == ["eventbus.W104", "eventbus.W105"]
    assert found(EVENTBUS_MANAGEMENT_URL="https://mq.example", EMAIL_USE_TLS=True) == []
