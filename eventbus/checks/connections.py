"""Connections that somebody on the way could read, or answer in a server's place: `manage.py check --deploy`."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from psycopg import pq

from eventbus.broker.address import addresses, read_address
from eventbus.conf import bus_settings

PAGE = "see docs/deploy.md"


@register(Tags.security, deploy=True)
def nobody_listens_on_the_way(**_: Any) -> list[CheckMessage]:
    """Passwords and customers' data go over these connections. Those to this machine itself are left out."""
    return [*_database(), *_broker(), *_management(), *_mail()]


def _database() -> Iterator[CheckMessage]:
    databases: dict[str, Mapping[str, Any]] = {"DATABASE_URL": settings.DATABASES["default"]}
    if bus_settings.POOLED_DATABASE is not None:
        databases = {"DATABASE_DIRECT_URL": databases["DATABASE_URL"], "DATABASE_URL": bus_settings.POOLED_DATABASE}
    for variable, database in databases.items():
        # What neither the address nor the environment (PGSSLMODE and so on) says has libpq's default.
        said = {each.keyword.decode(): (each.val or b"").decode() for each in pq.Conninfo.get_defaults()}
        said |= {name: str(value) for name, value in database.get("OPTIONS", {}).items()}
        hosts = _elsewhere(str(database.get("HOST") or said["host"]).split(","))
        if hosts and said["sslmode"] not in ("verify-full", "verify-ca") and said["gssencmode"] != "require":
            yield Warning(
                f"PostgreSQL on {hosts} is reached without TLS, or without a look at its certificate: "
                f"sslmode is {said['sslmode']}.",
                hint=f"Add sslmode=verify-full and sslrootcert=FILE to {variable}: {PAGE}.",
                id="eventbus.W102",
            )


def _broker() -> Iterator[CheckMessage]:
    for variable, url in addresses().items():
        address = read_address(url)
        hosts = _elsewhere(address.hosts)
        if hosts and not address.verifies:
            yield Warning(
                f"RabbitMQ on {hosts} is reached without {'a look at its certificate' if address.uses_tls else 'TLS'}.",
                hint=f"Let {variable} begin with amqps://, without verify=verify_none: {PAGE}.",
                id="eventbus.W103",
            )


def _management() -> Iterator[CheckMessage]:
    url = urlsplit(bus_settings.MANAGEMENT_URL)
    hosts = _elsewhere([url.hostname or ""])
    if hosts and url.scheme != "https":
        yield Warning(
            f"RabbitMQ's management API on {hosts} is reached without TLS.",
            hint=f"Let MANAGEMENT_URL begin with https://: {PAGE}.",
            id="eventbus.W104",
        )


def _mail() -> Iterator[CheckMessage]:
    hosts = _elsewhere([settings.EMAIL_HOST])
    if hosts and not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL):
        yield Warning(
            f"The mail server on {hosts} is reached without TLS.",
            hint="Let EMAIL_URL begin with smtp+tls:// or smtp+ssl://.",
            id="eventbus.W105",
        )


def _elsewhere(hosts: Iterable[str]) -> str:
    """Those that are not this machine."""
    return ", ".join(host for host in hosts if not _is_here(host))


def _is_here(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
