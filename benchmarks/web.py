"""The web server as the Procfile runs it, for as long as a benchmark needs it."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from api.tokens import create_channel
from benchmarks.measure import until
from benchmarks.processes import Running, procfile, running


@contextmanager
def web_server() -> Iterator[Running]:
    """Run it until the block ends; entered when it answers."""
    with running(procfile("web"), log="web") as web:

        def answers() -> bool:
            web.check()
            # No proxy of the environment between us and our own machine.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            try:
                with opener.open(f"http://127.0.0.1:{os.environ['PORT']}/health/ready", timeout=3) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        until("the web server answers", answers, every=0.2)
        yield web


def token() -> str:
    """A channel's token."""
    secret, _ = create_channel(name="bench", days=1)
    return secret
