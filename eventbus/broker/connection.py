"""Connections to RabbitMQ, and the errors that they end with.

Everything that opens one, Celery and Flower included, goes by BROKER_URL as `eventbus.broker.address` reads it.
"""

import ssl
from typing import Any

from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from eventbus.broker.address import read_address
from eventbus.conf import bus_settings

#: Errors of a connection or channel that is lost. What was not confirmed by then may or may not have arrived.
BROKER_ERRORS: tuple[type[Exception], ...] = (
    *Connection("amqp://").connection_errors,
    *Connection("amqp://").channel_errors,
)

#: Seconds that any answer of the broker may take, and what we send.
ANSWER_TIMEOUT = 15.0
#: Seconds between two signs of life. After two without any the connection is lost; the broker sees it so too.
HEARTBEAT = 10
#: Seconds between two attempts of Celery to reach a broker that is away, at most.
RECONNECT_EVERY = 5


class VerifyingTransport(pyamqp.SSLTransport):  # type: ignore[misc]  # kombu has no types
    """TLS to a broker whose certificate is verified, its host name too, unless the options say otherwise.

    By itself kombu compares no host name; asked to, it writes the first node's into the options that all nodes share.
    """

    def establish_connection(self) -> Any:
        client = self.client
        shared, host = client.ssl, client.hostname
        said = shared if isinstance(shared, dict) else {}
        options = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host or "localhost"} | said
        if options["cert_reqs"] == ssl.CERT_NONE:
            # py-amqp compares whatever name it is given, and refuses to do only that.
            del options["server_hostname"]
        client.ssl = options
        try:
            return super().establish_connection()
        finally:
            # kombu makes 127.0.0.1 of localhost, for which there is no certificate.
            client.ssl, client.hostname = shared, host


# kombu picks the transport by the scheme, again for each node.
TRANSPORT_ALIASES["amqps"] = f"{__name__}:{VerifyingTransport.__name__}"


def declaring_url() -> str:
    """The broker's address for those who declare."""
    return bus_settings.DECLARING_BROKER_URL or bus_settings.BROKER_URL


def connect(url: str) -> Connection:
    """An open connection to the first node of the URL that answers. Raises one of BROKER_ERRORS if none does."""
    address = read_address(url)
    options = {"read_timeout": ANSWER_TIMEOUT, "write_timeout": ANSWER_TIMEOUT}
    connect_timeout = 5 if address.connection_timeout is None else address.connection_timeout
    connection = Connection(
        address.nodes,
        heartbeat=HEARTBEAT if address.heartbeat is None else address.heartbeat,
        connect_timeout=connect_timeout,
        ssl=dict(address.tls) or address.uses_tls,
        login_method=address.auth_mechanism,
        transport_options=options | _channel_max(address.channel_max),
    )
    nodes = len(address.hosts)
    connection.ensure_connection(
        max_retries=nodes,
        interval_start=0,
        interval_step=0,
        timeout=(connect_timeout + 5) * nodes,
        # kombu would wrap them into an error of its own, which is none of BROKER_ERRORS.
        reraise_as_library_errors=False,
    )
    return bound(connection)


def bound(connection: Connection) -> Connection:
    """Let an open connection wait no longer than this for anything, and return it."""
    # Where py-amqp waits for an answer without a time of its own, it goes on waiting through its read_timeout.
    connection.connection.transport.sock.settimeout(ANSWER_TIMEOUT)
    return connection


def celery_connection(url: str) -> dict[str, Any]:
    """The same address as Celery's settings: for the worker's own connection, for beat and for Flower."""
    address = read_address(url)
    settings = {
        "broker_url": address.nodes,
        # Celery's command line takes BROKER_URL from the environment, as it stands there, for the one above.
        "broker_read_url": address.nodes,
        "broker_write_url": address.nodes,
        "broker_use_ssl": dict(address.tls) or address.uses_tls,
        "broker_transport_options": _channel_max(address.channel_max),
        "broker_heartbeat": address.heartbeat,
        "broker_connection_timeout": address.connection_timeout,
        "broker_login_method": address.auth_mechanism,
    }
    return {name: value for name, value in settings.items() if value is not None}


def shown(url: str) -> str:
    """The address for people: its nodes, without passwords and parameters."""
    return ";".join(Connection(node).as_uri() for node in read_address(url).nodes.split(";"))


def _channel_max(number: int | None) -> dict[str, int]:
    return {} if number is None else {"channel_max": number}
