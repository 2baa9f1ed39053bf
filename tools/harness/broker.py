"""The broker's management API."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from script._lib.local import passwords
from script._lib.rabbitmq import rights


def as_administrator(url: str) -> str:
    """The address of a private broker's management API with the log-in that makes virtual hosts."""
    address = urlsplit(url)
    login = f"pipeline_admin:{passwords()['broker_admin']}"
    return address._replace(netloc=f"{login}@{address.netloc.rpartition('@')[2]}").geturl()


@dataclass(frozen=True)
class Management:
    """The API behind a MANAGEMENT_URL, login included."""

    url: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call; returns the answer's JSON, None where there is none. Raises httpx.HTTPError."""
        with httpx.Client(trust_env=False, timeout=30) as http:
            answer = http.request(method, f"{self.url.rstrip('/')}/api/{path}", json=body).raise_for_status()
        return answer.json() if answer.content else None

    def make_vhost(self, name: str) -> None:
        """A virtual host in which our users have their rights."""
        self.ask("PUT", f"vhosts/{name}")
        for user, right in rights().items():
            self.ask("PUT", f"permissions/{name}/{user}", right)
        # The operators' limits hold there too.
        for policy in self.ask("GET", f"policies/{quote('/', safe='')}"):
            self.ask("PUT", f"policies/{name}/{policy['name']}", {**policy, "vhost": name})

    def remove_vhost(self, name: str) -> None:
        """Remove it with all that is in it, if it is there."""
        if any(vhost["name"] == name for vhost in self.ask("GET", "vhosts")):
            self.ask("DELETE", f"vhosts/{name}")
