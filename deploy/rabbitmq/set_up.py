"""Sets the queue policies of policies.json on the broker whose management API MANAGEMENT_URL names."""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

POLICIES = Path(__file__).with_name("policies.json")


def main() -> None:
    url = urlsplit(os.environ["MANAGEMENT_URL"])
    login = base64.b64encode(f"{unquote(url.username or '')}:{unquote(url.password or '')}".encode()).decode()
    for policy in json.loads(POLICIES.read_text()):
        name = policy.pop("name")
        request = urllib.request.Request(
            f"{url.scheme}://{url.hostname}:{url.port}/api/policies/%2F/{quote(name, safe='')}",
            data=json.dumps(policy).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=10):
            print(f"policy {name} is set")


if __name__ == "__main__":
    main()
