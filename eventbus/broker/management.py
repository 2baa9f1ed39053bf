"""RabbitMQ's management API, as far as we look: it knows what AMQP does not tell."""

import base64
import json
import urllib.request
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from eventbus.broker.address import read_address
from eventbus.conf import bus_settings

TIMEOUT = 5


def vhost() -> str:
    """Our virtual host, as its address in the API."""
    return quote(read_address(bus_settings.BROKER_URL).vhost, safe="")


def ask(path: str) -> Any:
    """What stands at this address of the API. Raises OSError and ValueError."""
    url = urlsplit(bus_settings.MANAGEMENT_URL)
    address = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], f"{url.path.rstrip('/')}/api/{path}", "", ""))
    login = f"{unquote(url.username or '')}:{unquote(url.password or '')}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as answer:
            return json.load(answer)
    except HTTPError as refusal:
        # An answer too, with its connection.
        refusal.close()
        raise
