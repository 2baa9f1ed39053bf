"""Databases that live as long as a test, a benchmark or a run of chaos."""

from psycopg import connect, sql


def drop_database(server_url: str, name: str) -> None:
    """Drop a database, if it is there, whoever of our own role is still connected.

    `WITH (FORCE)` is for superusers: an ordinary role may not end the autovacuum worker that may be in it, and fails.
    """
    with connect(server_url, autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = %s AND usename = current_user AND pid <> pg_backend_pid()",
            [name],
        )
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
