"""Ports for what the tests start."""

import secrets
import socket
from pathlib import Path

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nobody listens on, and that the system hands out to no outgoing connection: until it is used, nobody
    takes it."""
    first_outgoing = int(OUTGOING.read_text().split()[0])
    while True:
        port = first_outgoing // 2 + secrets.randbelow(first_outgoing // 2)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
