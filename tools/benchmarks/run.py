"""Runs one benchmark in the laboratory that the environment points to, and prints its results as JSON."""

import json
import signal
import sys
from importlib import import_module

import django

from eventbus.db.owner import become_owner


def main() -> None:
    name, counts = sys.argv[1:]
    # Unwinds what runs, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    django.setup()
    # It empties tables between rounds, which the role that the product works as may not.
    become_owner()
    results = import_module(f"tools.benchmarks.{name}").run(quick=counts == "quick")
    print(json.dumps([result.as_json() for result in results]))


if __name__ == "__main__":
    main()
