"""A place for the product to work in that is nobody else's, and gone afterwards."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from script._lib.local import ROOT
from script._lib.process import Process
from tools.harness.broker import Management, as_administrator


class Laboratory:
    """A database and a virtual host of one name on given servers, and the environment of who works there."""

    #: The code that works there, and the Python that runs it.
    root = ROOT
    interpreter = Path(sys.executable)

    def __init__(self, name: str, servers: Mapping[str, str], *, settings: str, logs: Path, **env: str) -> None:
        """`servers` has their addresses: DATABASE_URL, OWNER_DATABASE_URL, BROKER_URL, DECLARING_BROKER_URL,
        MANAGEMENT_URL. It and `env` go to every process. `server_url`, `database_url` and `broker_url` are for us, who
        may do more than the application."""
        self.name, self.logs = name, logs
        # With one role for everything there is no owner beside it.
        self.server_url = servers["OWNER_DATABASE_URL"] or servers["DATABASE_URL"]
        self.database_url = _inside(self.server_url, name)
        self.broker_url = _inside(servers["DECLARING_BROKER_URL"], name)
        self.broker = Management(as_administrator(servers["MANAGEMENT_URL"]))
        self.env = {
            **os.environ,
            **servers,
            "DATABASE_URL": _inside(servers["DATABASE_URL"], name),
            "OWNER_DATABASE_URL": servers["OWNER_DATABASE_URL"] and self.database_url,
            # It would lead to another database.
            "DATABASE_DIRECT_URL": "",
            "BROKER_URL": _inside(servers["BROKER_URL"], name),
            "DECLARING_BROKER_URL": self.broker_url,
            "DJANGO_SETTINGS_MODULE": settings,
            "DEBUG": "off",
            "HTTPS": "off",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
            "WORKER_PROCESSES": "2",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "PATH": f"{self.interpreter.parent}:{os.environ['PATH']}",
            **env,
        }

    def create(self, *, template: str = "template1") -> None:
        """Make it: the database as a copy of another, the virtual host empty."""
        self.create_database(template)
        self.broker.make_vhost(self.name)

    def create_database(self, template: str = "template1") -> None:
        with psycopg.connect(self.server_url, autocommit=True) as server:
            names = map(sql.Identifier, (self.name, template))
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def remove(self) -> None:
        """Remove what there is of it."""
        self.drop_database()
        self.broker.remove_vhost(self.name)

    def drop_database(self) -> None:
        """Drop the database, if it is there, whoever of our own roles is still connected.

        `WITH (FORCE)` is for superusers: an ordinary role may not end the autovacuum worker that may be in it, and
        fails.
        """
        with psycopg.connect(self.server_url, autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s AND pg_has_role(usesysid, 'MEMBER') AND pid <> pg_backend_pid()",
                [self.name],
            )
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(self.name)))

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, over a connection of its own: it works while Django's is in a transaction, or lost."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as own:
            cursor = own.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def process(self, name: str, command: str, **env: str) -> Process:
        """A process that is to work here. What it says goes to a file of its name."""
        return Process(name, command, self.env | env, self.logs / f"{name.replace(' ', '-')}.log", self.root)

    def run(self, *arguments: str, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python here to its end, with this text on standard input."""
        return subprocess.run(
            [self.interpreter, *arguments],
            cwd=self.root,
            env=self.env | env,
            input=text,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            start_new_session=True,
        )

    def python(self, *arguments: str, text: str = "", expect: tuple[int, ...] = (0,)) -> str:
        """The same; returns what it prints. Raises RuntimeError, with all that it said, on another exit code."""
        done = self.run(*arguments, text=text)
        if done.returncode not in expect:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def _inside(server: str, name: str) -> str:
    """The address of a database or virtual host on a server."""
    return urlsplit(server)._replace(path=f"/{name}").geturl()
