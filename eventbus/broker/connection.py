"""Connections to RabbitMQ, and the errors that they end with."""

from kombu import Connection

from eventbus.conf import bus_settings

#: Errors of a connection or channel that is lost. What was not confirmed by then may or may not have arrived.
BROKER_ERRORS: tuple[type[Exception], ...] = (
    *Connection("amqp://").connection_errors,
    *Connection("amqp://").channel_errors,
)

#: Seconds that any answer of the broker may take.
ANSWER_TIMEOUT = 30.0


def declaring_url() -> str:
    """The broker's address for those who declare."""
    return bus_settings.DECLARING_BROKER_URL or bus_settings.BROKER_URL


def connect(url: str) -> Connection:
    """An open connection to the first node of the URL that answers. Raises one of BROKER_ERRORS if none does."""
    connection = Connection(
        url,
        heartbeat=30,
        connect_timeout=5,
        transport_options={"read_timeout": ANSWER_TIMEOUT, "write_timeout": ANSWER_TIMEOUT},
    )
    nodes = url.count(";") + 1
    connection.ensure_connection(
        max_retries=nodes,
        interval_start=0,
        interval_step=0,
        timeout=10 * nodes,
        # kombu would wrap them into an error of its own, which is none of BROKER_ERRORS.
        reraise_as_library_errors=False,
    )
    # Where py-amqp waits for an answer without a time of its own, it goes on waiting through its read_timeout.
    connection.connection.transport.sock.settimeout(ANSWER_TIMEOUT)
    return connection
