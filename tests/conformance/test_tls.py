"""PostgreSQL and RabbitMQ by TLS: whom we talk to is verified, and every parameter of the addresses counts."""

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from celery import Celery

from config.database import read_database_url
from eventbus.broker.connection import BROKER_ERRORS, celery_connection, connect
from tests.support.bus import LiveBus
from tests.support.certificates import Authority, Certificate
from tests.support.folders import reachable_folder
from tests.support.tls_servers import TlsPostgres, TlsRabbitMQ
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = pytest.mark.live

PROCESSES = ("web", "relay", "worker orders", "worker inventory", "worker eventbus", "dead letters", "beat", "flower")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach."""
    with reachable_folder("tls") as folder:
        yield folder


@pytest.fixture(scope="module")
def authority(home: Path) -> Authority:
    return Authority(home / "authority")


@pytest.fixture(scope="module")
def stranger(home: Path) -> Authority:
    """Signed nothing that our servers have."""
    return Authority(home / "stranger", "a stranger")


@pytest.fixture(scope="module")
def us(authority: Authority) -> Certificate:
    return authority.issue("pipeline")


@pytest.fixture(scope="module")
def postgres(home: Path, authority: Authority) -> Iterator[TlsPostgres]:
    server = TlsPostgres(home / "postgres")
    server.home.mkdir()
    server.create()
    server.protect(authority, authority.issue("localhost"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[TlsRabbitMQ]:
    node = TlsRabbitMQ(authority, authority.issue("localhost"))
    try:
        node.start()
        yield node
    finally:
        node.remove()


def to_postgres(server: TlsPostgres, parameters: Mapping[str, object], *, host: str = "localhost") -> str:
    said = {"sslmode": "verify-full"} | dict(parameters)
    return f"postgres://pipeline@{host}:{server.port}/postgres?" + "&".join(f"{k}={v}" for k, v in said.items())


def open_database(url: str) -> psycopg.Connection[Any]:
    """As Django does, with the defaults of the settings."""
    read = read_database_url("DATABASE_URL", url, {"OPTIONS": {"connect_timeout": 5}})
    parts = {"host": read["HOST"], "port": read["PORT"], "user": read["USER"], "dbname": read["NAME"]}
    return psycopg.connect(**parts, **read["OPTIONS"])


def test_postgres_is_who_it_must_be(
    postgres: TlsPostgres, authority: Authority, stranger: Authority, us: Certificate
) -> None:
    ours = {"sslrootcert": authority.file, "sslcert": us.certificate, "sslkey": us.key}
    with open_database(to_postgres(postgres, ours)) as connection:
        assert connection.pgconn.ssl_in_use

    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        open_database(to_postgres(postgres, ours | {"sslrootcert": stranger.file}))
    with pytest.raises(psycopg.OperationalError, match=r"localhost.*does not match host name"):
        open_database(to_postgres(postgres, ours, host="127.0.0.1"))
    with pytest.raises(psycopg.OperationalError, match="requires a valid client certificate"):
        open_database(to_postgres(postgres, {"sslrootcert": authority.file}))


def test_a_certificate_of_postgres_that_has_expired_is_refused(
    postgres: TlsPostgres, authority: Authority, us: Certificate
) -> None:
    postgres.protect(authority, authority.issue("localhost", expired=True))
    try:
        ours = {"sslrootcert": authority.file, "sslcert": us.certificate, "sslkey": us.key}
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            open_database(to_postgres(postgres, ours))
    finally:
        postgres.protect(authority, authority.issue("localhost"))
    open_database(to_postgres(postgres, ours)).close()


def test_postgres_without_tls_is_refused_where_tls_is_wanted(authority: Authority) -> None:
    url = os.environ["DATABASE_URL"]
    with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
        open_database(f"{url}?sslmode=verify-full&sslrootcert={authority.file}")


def by_celery(url: str) -> Any:
    """As the worker's consumer, beat and Flower connect."""
    app = Celery(set_as_current=False)
    app.conf.update(celery_connection(url))
    connection = app.connection_for_read()
    connection.connect()
    return connection


ways = pytest.mark.parametrize("open_broker", [connect, by_celery])


@ways
def test_rabbitmq_is_who_it_must_be(
    open_broker: Callable[[str], Any],
    broker: TlsRabbitMQ,
    authority: Authority,
    stranger: Authority,
    us: Certificate,
) -> None:
    mine: dict[str, object] = {"certfile": us.certificate, "keyfile": us.key}
    ours = mine | {"cacertfile": authority.file}
    with open_broker(broker.tls_url(ours)) as connection:
        assert connection.connection.transport.sock.version().startswith("TLS")
    # The same name for whoever is reached by another one.
    open_broker(broker.tls_url(ours | {"server_name_indication": "localhost"}, host="127.0.0.1")).release()
    open_broker(broker.tls_url(mine | {"verify": "verify_none"}, host="127.0.0.1")).release()

    with pytest.raises(BROKER_ERRORS, match=r"certificate is not valid for '127\.0\.0\.1'"):
        open_broker(broker.tls_url(ours, host="127.0.0.1"))
    with pytest.raises(BROKER_ERRORS, match="certificate verify failed"):
        open_broker(broker.tls_url(mine | {"cacertfile": stranger.file}))
    # By the authorities that this machine trusts.
    with pytest.raises(BROKER_ERRORS, match="certificate verify failed"):
        open_broker(broker.tls_url(mine))
    # Without a certificate of ours.
    with pytest.raises(BROKER_ERRORS):
        open_broker(broker.tls_url({"cacertfile": authority.file}))
    # A port that knows no TLS.
    with pytest.raises(BROKER_ERRORS):
        open_broker(broker.tls_url(ours).replace(str(broker.tls), str(broker.amqp)))


@ways
def test_each_node_is_verified_by_its_own_name(
    open_broker: Callable[[str], Any], broker: TlsRabbitMQ, authority: Authority, us: Certificate
) -> None:
    """The first is another server, whose name the certificate does not have; the second is right."""
    ours = {"cacertfile": authority.file, "certfile": us.certificate, "keyfile": us.key}
    with open_broker(f"{broker.tls_url(ours, host='127.0.0.1')};{broker.tls_url({})}") as connection:
        assert connection.connected


@contextmanager
def tls_only(certificate: Certificate) -> Iterator[int]:
    """A server that shows this certificate to one client after the other, and nothing else. The port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(accepted, server_side=True).close()
                except OSError:
                    accepted.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@ways
def test_a_certificate_of_rabbitmq_that_has_expired_is_refused(
    open_broker: Callable[[str], Any], authority: Authority
) -> None:
    with (
        tls_only(authority.issue("localhost", expired=True)) as port,
        pytest.raises(BROKER_ERRORS, match="certificate has expired"),
    ):
        open_broker(f"amqps://u:p@localhost:{port}//?cacertfile={authority.file}")


def test_the_whole_pipeline_works_by_tls(
    postgres: TlsPostgres,
    broker: TlsRabbitMQ,
    authority: Authority,
    us: Certificate,
    mail_sink: MailSink,
    tmp_path: Path,
) -> None:
    name = f"tls_{uuid4().hex[:8]}"
    ours = {"sslrootcert": authority.file, "sslcert": us.certificate, "sslkey": us.key}
    ours_too = {"cacertfile": authority.file, "certfile": us.certificate, "keyfile": us.key, "heartbeat": 7}
    bus = LiveBus(
        name,
        smtp_port=mail_sink.port,
        logs=tmp_path,
        DATABASE_URL=to_postgres(postgres, ours),
        BROKER_URL=broker.tls_url(ours_too, vhost=name),
        DECLARING_BROKER_URL=broker.tls_url(ours_too, vhost=name, user="pipeline_declaring"),
        MANAGEMENT_URL=broker.management_url(),
    )
    try:
        bus.create()
        made = bus.manage("create_channel", "tls-shop", "--json")
        bus.start(*PROCESSES)
        ((channel,),) = bus.query("SELECT id FROM auth_user WHERE username = 'tls-shop'")
        shop = Shop(f"http://127.0.0.1:{bus.web_port}/api/v1", _token(made), channel)
        shop.place(shop.order("thing"), seconds=10)
        bus.wait_for(
            lambda: bus.query("SELECT 1 FROM orders_order WHERE status <> 'CREATED'"), "the order's answer", 60
        )
        shop.close()

        sessions = bus.query(
            "SELECT DISTINCT a.application_name, s.ssl, s.client_dn "
            "FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) "
            "WHERE a.datname = current_database() AND a.usename = 'pipeline'"
        )
        assert {"relay", "dead letters", "worker orders"} <= {session for session, _, _ in sessions}
        assert {(by_tls, who) for _, by_tls, who in sessions} == {(True, "/CN=pipeline")}
        connections = bus.wait_for(lambda: _listed(bus, name), "the broker's list of its connections", 30)
        assert {each["ssl"] for each in connections} == {True}
        # Celery asks for heartbeats only where something sends them: not on connections for an occasional message.
        assert {each["timeout"] for each in connections} == {7, 0}
    finally:
        bus.remove()


def _token(said: str) -> str:
    token: str = json.loads(said)["token"]
    return token


def _listed(bus: LiveBus, vhost: str) -> list[dict[str, Any]]:
    """The connections of this vhost: it takes a few seconds until the broker knows all of them."""
    found = [each for each in bus.broker.ask("GET", "connections") if each.get("vhost") == vhost]
    return found if len(found) >= 5 and all("ssl" in each and "timeout" in each for each in found) else []
