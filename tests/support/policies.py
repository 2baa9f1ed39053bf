"""Policies of the broker, as an operator sets them through the management API."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx


@contextmanager
def length_limit(vhost: str, queue: str, messages: int) -> Iterator[None]:
    """Inside, the queue takes about so many messages and refuses the rest."""
    url = f"{os.environ['MANAGEMENT_URL'].rstrip('/')}/api/policies/{quote(vhost, safe='')}/{quote(queue)}-is-short"
    policy = {"pattern": f"^{queue}$", "definition": {"max-length": messages}, "priority": 10, "apply-to": "queues"}
    with httpx.Client(trust_env=False, timeout=30) as http:
        http.put(url, json=policy).raise_for_status()
        try:
            yield
        finally:
            http.delete(url).raise_for_status()
