"""The module that Django looks for in a backend."""

from select import POLLIN, poll
from types import ModuleType
from typing import Any

import psycopg
from django.db.backends.postgresql import base

from eventbus.db.postgresql.watched import WatchedConnection

#: Where bytes are not even acknowledged, the kernels find out, ours within 25 seconds where it has nothing to say. What
#: the settings say comes first.
TCP = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

#: psycopg, but for the class of its connections.
DRIVER = ModuleType(psycopg.__name__)
vars(DRIVER).update(vars(psycopg), connect=WatchedConnection.connect)


class DatabaseWrapper(base.DatabaseWrapper):
    """`ANSWER_WITHIN` in a database's settings, in seconds, is for sessions whose statements are all short."""

    Database = DRIVER

    def get_connection_params(self) -> dict[str, Any]:
        return TCP | super().get_connection_params()

    def get_new_connection(self, conn_params: dict[str, Any]) -> WatchedConnection:
        connection: WatchedConnection = super().get_new_connection(conn_params)
        connection.answer_within = self.settings_dict.get("ANSWER_WITHIN")
        return connection

    def close_if_unusable_or_obsolete(self) -> None:
        """Asked by Django before each request, and by workers before each run: also where the server has hung up
        meanwhile, as one does that restarts. That costs a look at the socket and no round trip."""
        if self.connection is not None and not self.in_atomic_block and has_hung_up(self.connection):
            self.close()
        super().close_if_unusable_or_obsolete()


def has_hung_up(connection: psycopg.Connection) -> bool:
    """Whether the server has ended this idle session. What it has sent besides, such as notifications, is kept."""
    arrived = poll()
    try:
        arrived.register(connection.fileno(), POLLIN)
        # A goodbye may come in front of the end.
        while arrived.poll(0):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False
