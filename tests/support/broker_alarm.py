"""A broker that is short of memory, as it sees it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.processes import ROOT

NORMAL = "0.4"


@contextmanager
def memory_alarm() -> Iterator[None]:
    """Inside, the broker takes nothing from publishers: it stops to read from them, without a word."""
    set_watermark("0.00001")
    try:
        yield
    finally:
        set_watermark(NORMAL)


def set_watermark(share: str) -> None:
    subprocess.run(
        [str(ROOT / "script/services"), "rabbitmqctl", "set_vm_memory_high_watermark", share],
        check=True,
        capture_output=True,
        timeout=60,
    )
