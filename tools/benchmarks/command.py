"""Runs one command of manage.py, and says how long it took and the most memory that it held.

The kernel forgets a process's memory when it ends: it has to look at itself.
"""

import json
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from time import monotonic

import django
from django.conf import settings
from django.core.management import execute_from_command_line

from tools.benchmarks.running import log_of
from tools.benchmarks.usage import peak_memory_mb


@dataclass(frozen=True)
class Usage:
    """What a command took. Its seconds begin when Python and Django are loaded."""

    seconds: float
    peak_mb: float


def manage(*arguments: str, log: str) -> Usage:
    """Run the command to its end, what it says going to a file. Raises RuntimeError if it fails."""
    path = log_of(log)
    with path.open("ab") as output:
        done = subprocess.run(
            # The death signal: kill -9 of us leaves nothing behind.
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "tools.benchmarks.command", *arguments],
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=output,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with code {done.returncode}: read {path}")
    return Usage(**json.loads(done.stdout))


def main() -> None:
    django.setup()
    began = monotonic()
    with redirect_stdout(sys.stderr):
        execute_from_command_line(["manage.py", *sys.argv[1:]])
    print(json.dumps(asdict(Usage(monotonic() - began, peak_memory_mb("self")))))


if __name__ == "__main__":
    main()
