"""Makes the broker's two users, with the rights of permissions.json, and sets the queue policies of policies.json.

Their names and passwords, and the virtual host, are those of BROKER_URL (application) and DECLARING_BROKER_URL.
ADMIN_MANAGEMENT_URL is the management API with an administrator's log-in, which nobody else needs. Safe to repeat:
python -m deploy.rabbitmq.set_up
"""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from config.environment import env

HERE = Path(__file__).parent
#: What the management API shows a user; the application needs none of it.
TAGS = {"application": "", "declaring": "monitoring"}


def main() -> None:
    addresses = {"application": env.str("BROKER_URL"), "declaring": env.str("DECLARING_BROKER_URL")}
    # Several nodes have the same users and virtual hosts.
    logins = {role: urlsplit(nodes.split(";")[0]) for role, nodes in addresses.items()}
    vhost = quote(unquote(logins["application"].path[1:]) or "/", safe="")
    for role, rights in json.loads((HERE / "permissions.json").read_text()).items():
        address = logins[role]
        name, password = unquote(address.username or ""), unquote(address.password or "")
        put(f"users/{quote(name, safe='')}", {"password": password, "tags": TAGS[role]})
        put(f"permissions/{vhost}/{quote(name, safe='')}", rights)
        print(f"user {name} is set")
    for policy in json.loads((HERE / "policies.json").read_text()):
        name = policy.pop("name")
        put(f"policies/{vhost}/{quote(name, safe='')}", policy)
        print(f"policy {name} is set")


def put(path: str, what: dict[str, Any]) -> None:
    url = urlsplit(env.str("ADMIN_MANAGEMENT_URL"))
    login = base64.b64encode(f"{unquote(url.username or '')}:{unquote(url.password or '')}".encode()).decode()
    request = urllib.request.Request(
        f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}/api/{path}",
        data=json.dumps(what).encode(),
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


if __name__ == "__main__":
    main()
