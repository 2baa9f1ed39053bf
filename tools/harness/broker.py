"""The broker's management API."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}


@dataclass(frozen=True)
class Management:
    """The API behind a MANAGEMENT_URL, login included."""

    url: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call; returns the answer's JSON, None where there is none. Raises httpx.HTTPError."""
        with httpx.Client(trust_env=False, timeout=30) as http:
            answer = http.request(method, f"{self.url.rstrip('/')}/api/{path}", json=body).raise_for_status()
        return answer.json() if answer.content else None

    def make_vhost(self, name: str, user: str) -> None:
        """A virtual host of which this user may use everything."""
        self.ask("PUT", f"vhosts/{name}")
        self.ask("PUT", f"permissions/{name}/{user}", EVERYTHING)
        # The operators' limits hold there too.
        for policy in self.ask("GET", f"policies/{quote('/', safe='')}"):
            self.ask("PUT", f"policies/{name}/{policy['name']}", {**policy, "vhost": name})

    def remove_vhost(self, name: str) -> None:
        """Remove it with all that is in it, if it is there."""
        if any(vhost["name"] == name for vhost in self.ask("GET", "vhosts")):
            self.ask("DELETE", f"vhosts/{name}")
