"""A database and a virtual host of its own for each benchmark, on the private servers of the bench."""

import json
import os
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from tests.support.scratch import drop_database

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "bench_template"


class Servers:
    """PostgreSQL and RabbitMQ, by the addresses that `script/services` wrote to a file."""

    def __init__(self, addresses: Path) -> None:
        self.env = dict(line.split("=", 1) for line in addresses.read_text().splitlines())

    @contextmanager
    def template(self) -> Iterator[None]:
        """Migrate once; each benchmark's database is a copy."""
        drop_database(self.env["DATABASE_URL"], TEMPLATE)
        self._execute("CREATE DATABASE {0}", TEMPLATE)
        try:
            self.python("manage.py", "migrate", "--run-syncdb", "--verbosity=0", lab=TEMPLATE)
            yield
        finally:
            drop_database(self.env["DATABASE_URL"], TEMPLATE)

    @contextmanager
    def laboratory(self, name: str) -> Iterator[None]:
        """A database and a virtual host of that name, new and empty, and gone afterwards."""
        self._remove(name)
        self._execute("CREATE DATABASE {0} TEMPLATE {1}", name, TEMPLATE)
        try:
            self._manage("PUT", f"vhosts/{name}")
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            user = urlsplit(self.env["BROKER_URL"]).username
            self._manage("PUT", f"permissions/{name}/{user}", everything)
            # The operators' limits hold there too.
            for policy in self._manage("GET", f"policies/{quote('/', safe='')}"):
                self._manage("PUT", f"policies/{name}/{policy['name']}", {**policy, "vhost": name})
            yield
        finally:
            self._remove(name)

    def python(self, *arguments: str, lab: str) -> str:
        """Run Python under production's settings in that laboratory; returns what it prints.

        Raises subprocess.CalledProcessError if it fails.
        """
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "DATABASE_URL": self.env["DATABASE_URL"].rpartition("/")[0] + f"/{lab}",
            "BROKER_URL": self.env["BROKER_URL"].removesuffix("//") + f"/{lab}",
            "EMAIL_URL": "smtp://127.0.0.1:9",
            "PORT": self.env["PORT"],
            "DEBUG": "off",
            "HTTPS": "off",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
            "WORKER_PROCESSES": "2",
        }
        with subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        ) as child:
            try:
                printed, _ = child.communicate()
            except BaseException:
                # It has processes of its own to end.
                child.terminate()
                child.wait(90)
                raise
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, child.args)
        return printed

    def versions(self) -> dict[str, str]:
        with psycopg.connect(self.env["DATABASE_URL"]) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row is not None
        return {"postgresql": row[0].split()[0], "rabbitmq": self._manage("GET", "overview")["rabbitmq_version"]}

    def _remove(self, name: str) -> None:
        drop_database(self.env["DATABASE_URL"], name)
        if any(vhost["name"] == name for vhost in self._manage("GET", "vhosts")):
            self._manage("DELETE", f"vhosts/{name}")

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.env["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _manage(self, method: str, path: str, body: Any = None) -> Any:
        address = urlsplit(self.env["MANAGEMENT_URL"])
        request = urllib.request.Request(
            f"http://{address.hostname}:{address.port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Basic " + b64encode(f"{address.username}:{address.password}".encode()).decode(),
                "Content-Type": "application/json",
            },
        )
        # No proxy of the environment between us and our own machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None
