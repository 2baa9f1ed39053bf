"""The module that Django looks for in a backend."""

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
