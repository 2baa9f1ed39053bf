"""The stack of docker-compose.yml, on the engine that script/compose-test has started."""

import json
import os
import re
import ssl
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from script._lib.engine import environment
from script._lib.waiting import wait_until

HOST = "shop.example"
#: Whom nothing of the project runs in.
SERVERS = {"postgres", "rabbitmq", "gateway"}
#: What .env says of each name that .env.example has no example for.
VALUES = {
    "ALLOWED_HOSTS": HOST,
    "ALARM_EMAIL": "ops@shop.example",
    "ALARM_WEBHOOK_URL": "http://127.0.0.1:9/alarms",
    "WEBHOOK_KEYS": urlsafe_b64encode(bytes(32)).decode(),
    "CODE_VERSION": "not-of-the-image",
    "CSRF_TRUSTED_ORIGINS": "https://shop.example",
    "HTTPS": "1",
    # Of a copy on this machine: in a container its own address counts.
    "PORT": "8042",
    "FLOWER_PORT": "5542",
}
#: With these the stack would be another one.
LEFT_OUT = {"DATABASE_DIRECT_URL", "EMAIL_URL", "PRIVATE_RABBITMQ"}
#: As people choose them.
SECRET_KEY = "$a$$pa'ss\"word${HOME}#with it all \\"


class Stack:
    """What a person at the command line can do."""

    def __init__(self, project: Path, engine: str) -> None:
        self.project = project
        self._beside = ["nsenter", "--target", engine, "--mount", "--pid", f"--wdns={project}", "--"]
        self.tls = ssl.create_default_context(cafile=str(project / "secrets/tls/cert.pem"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._beside, *command],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1_000,
            check=False,
        )

    def must(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        return self.must("docker", "compose", *arguments)

    def up(self, *files: str) -> None:
        """With these compose files; none: docker-compose.yml."""
        compose = ("docker", "compose", *(f"--file={file}" for file in files))
        up = self.run(*compose, "up", "--detach", "--no-build", "--wait", "--wait-timeout", "900")
        assert up.returncode == 0, f"{up.stderr[-2000:]}\n{self.must(*compose, 'logs', '--tail', '12')}"

    def inside(self, service: str, *command: str) -> str:
        return self.compose("exec", "-T", service, *command)

    def services(self) -> list[str]:
        """Those that go on running."""
        return sorted(set(self.compose("config", "--services").split()) - {"migrate"})

    def inspect(self, service: str) -> dict[str, Any]:
        (found,) = json.loads(self.must("docker", "inspect", f"order-pipeline-{service}-1"))
        return dict(found)

    def health(self, service: str) -> str:
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def kill(self, service: str) -> None:
        """As the kernel does: the engine did not ask for it."""
        self.must("kill", "-KILL", str(self.inspect(service)["State"]["Pid"]))


class Channel:
    """A sales channel at the gateway."""

    def __init__(self, stack: Stack) -> None:
        said = stack.inside("web", "python", "manage.py", "create_channel", "shop", "--json")
        token = json.loads(said)["token"]
        self.http = httpx.Client(
            base_url="https://localhost:8443",
            verify=stack.tls,
            headers={"Authorization": f"Bearer {token}", "Host": HOST},
            timeout=40,
        )

    def order(self, **more: Any) -> httpx.Response:
        body = {
            "customerId": "c-1", "customerEmail": "ada@shop.example",
            "items": [{"productId": "coffee-mug", "productName": "Coffee mug", "quantity": 2, "unitPrice": 12.5}],
            "shippingAddress": {
                "street": "1 Main St", "city": "Springfield", "state": "IL", "postalCode": "62701", "country": "US",
            },
            "totalAmount": 25,
        }  # fmt: skip
        return self.http.post("/api/v1/orders", json=body | more, headers={"Idempotency-Key": uuid4().hex})

    def place(self) -> str:
        """Until it is accepted; returns its id."""
        answer = wait_until(lambda: accepted(self.order), 60, "an order to be accepted")
        return str(answer.json()["orderId"])

    def status(self, order: str) -> str:
        return str(self.http.get(f"/api/v1/orders/{order}").json()["status"])

    def sees_confirmed(self, *orders: str) -> None:
        wait_until(lambda: {*map(self.status, orders)} == {"CONFIRMED"}, 120, f"{orders} to be confirmed", every=1)

    def available(self, product: str = "coffee-mug") -> int:
        return int(self.http.get(f"/api/v1/stock/{product}").json()["available"])


def accepted(order: Any) -> httpx.Response | None:
    """The answer, if it is a 201. Until then only 503 is allowed, with a time to try again."""
    answer: httpx.Response = order()
    if answer.status_code == 201:
        return answer
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"]
    return None


def examples(project: Path) -> dict[str, str]:
    """The names of .env.example and the value that each has there."""
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", (project / ".env.example").read_text(), re.M))


@pytest.fixture(scope="session")
def settings() -> dict[str, str]:
    """What .env says: every name that there is."""
    named = examples(Path(os.environ["COMPOSE_PROJECT"]))
    return {name: VALUES.get(name) or value or "set" for name, value in named.items() if name not in LEFT_OUT}


@pytest.fixture(scope="session")
def stack(settings: dict[str, str]) -> Stack:
    """Up, with every setting set and stock to sell."""
    if "COMPOSE_PROJECT" not in os.environ:
        pytest.skip("run by script/compose-test")
    project = Path(os.environ["COMPOSE_PROJECT"])
    (project / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    (project / "secrets/secret_key").write_text(f"{SECRET_KEY}\n")
    stack = Stack(project, os.environ["COMPOSE_ENGINE"])
    stack.up()
    stack.compose("run", "--rm", "demo")
    return stack


@pytest.fixture(scope="session")
def channel(stack: Stack) -> Iterator[Channel]:
    channel = Channel(stack)
    yield channel
    channel.http.close()
