"""Connections to RabbitMQ, and the errors that they end with."""

from kombu import Connection

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


def connect(url: str) -> Connection:
    """An open connection to the first node of the URL that answers. Raises one of BROKER_ERRORS if none does."""
    connection = Connection(
        url,
        heartbeat=HEARTBEAT,
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
    return bound(connection)


def bound(connection: Connection) -> Connection:
    """Let an open connection wait no longer than this for anything, and return it."""
    # Where py-amqp waits for an answer without a time of its own, it goes on waiting through its read_timeout.
    connection.connection.transport.sock.settimeout(ANSWER_TIMEOUT)
    return connection
