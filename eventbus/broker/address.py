"""BROKER_URL and DECLARING_BROKER_URL: the nodes, and the parameters that RabbitMQ documents for addresses.

https://www.rabbitmq.com/docs/uri-query-parameters. Needs no connection, and loads neither kombu nor py-amqp.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from eventbus.conf import bus_settings
from eventbus.errors import EventbusError

VARIABLE, DECLARING = "BROKER_URL", "DECLARING_BROKER_URL"
DOCUMENTED = "https://www.rabbitmq.com/docs/uri-query-parameters"
MECHANISMS = ("PLAIN", "AMQPLAIN", "EXTERNAL")


@dataclass(frozen=True)
class BrokerAddress:
    """One of the two, read. What is None was not said."""

    #: The nodes as kombu takes them: without parameters, separated by `;`.
    nodes: str
    hosts: tuple[str, ...]
    vhost: str
    uses_tls: bool
    #: What py-amqp's TLS needs beside its defaults, which verify certificate and host name.
    tls: Mapping[str, Any] = field(default_factory=dict)
    #: Seconds.
    heartbeat: int | None = None
    connection_timeout: float | None = None
    channel_max: int | None = None
    auth_mechanism: str | None = None

    @property
    def verifies(self) -> bool:
        """Whether it is certain whom we talk to, and nobody else can read it."""
        return self.uses_tls and self.tls.get("cert_reqs") != ssl.CERT_NONE


class WrongAddress(EventbusError):
    """What is wrong with an address: it goes on where the name of its variable ends."""


def addresses() -> dict[str, str]:
    """Those that are set, by their variables."""
    said = {VARIABLE: bus_settings.BROKER_URL, DECLARING: bus_settings.DECLARING_BROKER_URL}
    return {variable: url for variable, url in said.items() if url or variable == VARIABLE}


def read_address(url: str, variable: str = VARIABLE) -> BrokerAddress:
    """Raises ImproperlyConfigured, which names variable and parameter and never the password."""
    try:
        return _read(url)
    except WrongAddress as wrong:
        raise ImproperlyConfigured(f"{variable}{wrong}") from None


def _read(url: str) -> BrokerAddress:
    texts = [text for text in url.split(";") if text]
    try:
        nodes = [urlsplit(text) for text in texts]
        is_valid = all(node.port != 0 and not node.fragment for node in nodes)
    except ValueError:
        is_valid = False
    if not is_valid or not (schemes := {node.scheme for node in nodes}) or not schemes <= {"amqp", "amqps"}:
        raise WrongAddress(
            " is not a valid address: write amqps://user:password@host:port/vhost, every special character in user, "
            "password and vhost percent-encoded."
        )
    if len(schemes) > 1:
        raise WrongAddress(" has nodes with amqp:// and nodes with amqps://: use one of the two.")
    uses_tls = schemes == {"amqps"}
    said = _parameters([node.query for node in nodes], uses_tls)
    for name in ("certfile", "keyfile"):
        if name in said and not {"certfile", "keyfile"} <= said.keys():
            raise _parameter(name, "needs the other one beside it: certfile and keyfile")
    tls = {name: said[ours] for ours, name in TLS.items() if ours in said}
    if tls:
        _try_files(said)
    return BrokerAddress(
        nodes=";".join(text.partition("?")[0] for text in texts),
        hosts=tuple(node.hostname or "localhost" for node in nodes),
        vhost=unquote(nodes[0].path[1:]) or "/",
        uses_tls=uses_tls,
        tls=tls,
        **{name: value for name, value in said.items() if name not in TLS},
    )


def _parameters(queries: list[str], uses_tls: bool) -> dict[str, Any]:
    """What the nodes say: written at one of them or at each, and the same for all."""
    said: dict[str, Any] = {}
    for name, text in [pair for query in queries for pair in parse_qsl(query, keep_blank_values=True)]:
        if name not in KNOWN:
            # What is no name may be a piece of a password with a question mark in it.
            raise _parameter(
                name if name.isidentifier() else "after its question mark",
                f"is not known. Known are {', '.join(KNOWN)}: {DOCUMENTED}",
            )
        if name in TLS and not uses_tls:
            raise _parameter(name, "is for TLS: begin the address with amqps://")
        value = KNOWN[name](name, text)
        if said.setdefault(name, value) != value:
            raise _parameter(name, "is given twice, with different values. It holds for all nodes")
    return said


def _parameter(name: str, what: str) -> WrongAddress:
    return WrongAddress(f": the parameter {name} {what}.")


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise _parameter(name, f"is {text!r}, not a whole number")
    return int(text)


def _seconds(name: str, text: str) -> float:
    return _number(name, text) / 1000


def _path(name: str, text: str) -> str:
    if not text:
        raise _parameter(name, "is empty")
    return text


def _mechanism(name: str, text: str) -> str:
    if text.upper() not in MECHANISMS:
        raise _parameter(name, f"is {text!r}, not one of {', '.join(MECHANISMS).lower()}")
    return text.upper()


def _verify(name: str, text: str) -> ssl.VerifyMode:
    modes = {"verify_peer": ssl.CERT_REQUIRED, "verify_none": ssl.CERT_NONE}
    if text not in modes:
        raise _parameter(name, f"is {text!r}, not one of {', '.join(modes)}")
    return modes[text]


#: Each parameter, and what reads its value.
KNOWN: dict[str, Callable[[str, str], Any]] = {
    "cacertfile": _path,
    "certfile": _path,
    "keyfile": _path,
    "verify": _verify,
    "server_name_indication": _path,
    "auth_mechanism": _mechanism,
    "heartbeat": _number,
    "connection_timeout": _seconds,
    "channel_max": _number,
}
#: Those of TLS, and what py-amqp calls them.
TLS = {
    "cacertfile": "ca_certs",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "verify": "cert_reqs",
    "server_name_indication": "server_hostname",
}


def _try_files(said: Mapping[str, Any]) -> None:
    """Found now: later Python would say that a file is missing, and not which."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("cacertfile", "certfile", "keyfile"):
        if name in said:
            try:
                with open(said[name], "rb"):
                    pass
            except OSError as error:
                raise _parameter(name, f"names {said[name]}, which can't be read: {error.strerror}") from None
    if "cacertfile" in said:
        try:
            context.load_verify_locations(said["cacertfile"])
        except ssl.SSLError as error:
            raise _parameter("cacertfile", f"names {said['cacertfile']}, which holds no certificate: {error}") from None
    if "certfile" in said:
        try:
            # Asked for a password, OpenSSL would wait at the terminal.
            context.load_cert_chain(said["certfile"], said["keyfile"], password="")
        except (ssl.SSLError, ValueError) as error:
            raise _parameter("certfile", f"and keyfile name no certificate with its (open) key: {error}") from None
