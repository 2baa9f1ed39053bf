"""Questions to RabbitMQ's management API, where there is one."""

import base64
import json
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from eventbus.conf import bus_settings

#: Seconds.
TIMEOUT = 5


def ask(path: str) -> Any:
    """What the API answers to a GET, as JSON. Raises OSError or ValueError."""
    url = urlsplit(bus_settings.MANAGEMENT_URL)
    address = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], f"{url.path.rstrip('/')}/api/{path}", "", ""))
    login = f"{unquote(url.username or '')}:{unquote(url.password or '')}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as answer:
        return json.load(answer)
