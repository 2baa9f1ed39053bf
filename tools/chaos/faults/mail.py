"""A mail server that puts its senders to the test."""

from collections.abc import Iterator
from contextlib import contextmanager

from tools.chaos.kinds import Fault, NothingToHit, Scene, kind
from tools.harness.servers import MAIL

SENDER = "worker_notifications"
LATER = b"450 4.7.1 Greylisted: try again later\r\n"


# What it refused comes again after a minute, and everything has to be done a minute after the run.
@kind("greylist", {MAIL: 2}, lasts=(5, 20), calm=30)
@contextmanager
def greylisting(scene: Scene, fault: Fault) -> Iterator[None]:
    """It refuses each recipient's first mail."""
    network, seen = scene.stage.network, set[bytes]()
    if network is None or scene.stage.pid(MAIL) is None:
        raise NothingToHit

    def refuse(said: bytes) -> bytes:
        if not said.upper().startswith(b"RCPT TO:") or said in seen:
            return b""
        seen.add(said)
        return LATER

    network.interrupt(f"{SENDER} to {MAIL}", refuse)
    yield
    network.interrupt(f"{SENDER} to {MAIL}", None)
