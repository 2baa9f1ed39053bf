"""Measures what the pipeline costs beside the plain way of doing the same; prints a table and writes JSON."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from script._lib.local import LOGS, ROOT
from tools.harness.broker import Management
from tools.harness.laboratory import Laboratory
from tools.harness.servers import Servers

TEMPLATE = "bench_template"

#: What can be measured, and against what.
BENCHMARKS = {
    "pipeline": "a whole order with all its effects, against the same effects as plain Celery tasks",
    "intake": "POST of an order, against a bare view that inserts the same rows",
    "relay": "a full outbox, against the same messages without a database",
    "consume": "a consumer that writes one row, against a Celery task",
    "ordered": "an ordered consumer, against the same one unordered",
    "reserve_stock": "inventory's reservation, against one order per transaction",
    "as_of": "stock at a moment among a million events, against stock now",
    "end_to_end": "POST to CONFIRMED, against on_commit(task.delay)",
    "replay_dead_letters": "a table full of letters, against plain deliveries to the same worker",
    "replay_events": "the archive to one consumer, against plain deliveries to the same worker",
    "rebuild": "a projection from the archive, against the library eventsourcing and a loop with the ORM",
    "verify_pipeline": "a large archive, against one bare pass over its rows",
    "large_archive": "intake, relay and consumption beside a year of events, against an empty archive",
}
PACKAGES = ("django", "djangorestframework", "celery", "kombu", "amqp", "psycopg", "granian")


def main() -> None:
    arguments = parse()
    # Unwinds what runs, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        servers = Servers()
        with servers.running():
            report = run(servers.env, arguments.names or list(BENCHMARKS), quick=arguments.quick)
    except RuntimeError as failed:
        print(f"bench: {failed}", file=sys.stderr)
        sys.exit(2)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    Console().print(table(report["results"]))
    print(f"Written to {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all if none is given: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="tiny counts: shows that it runs, and measures nothing")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: .local/bench.json")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"{', '.join(sorted(unknown))}: no such benchmark. There are {', '.join(BENCHMARKS)}.")
    return arguments


def run(servers: Mapping[str, str], names: list[str], *, quick: bool) -> dict[str, Any]:
    """Measure; returns the report. Each benchmark's database is a copy of one that was migrated once."""
    for log in LOGS.glob("bench-*.log"):
        log.unlink()
    template = laboratory(TEMPLATE, servers)
    report: dict[str, Any] = {"machine": machine(), "versions": versions(servers), "results": []}
    template.drop_database()
    template.create_database()
    try:
        template.python("manage.py", "migrate", "--run-syncdb", "--verbosity=0")
        for name in BENCHMARKS:
            if name in names:
                print(f"Measuring {name}: {BENCHMARKS[name]}", file=sys.stderr, flush=True)
                report["results"] += measure(laboratory(f"bench_{name}", servers), name, quick=quick)
    finally:
        template.drop_database()
    return report


def laboratory(name: str, servers: Mapping[str, str]) -> Laboratory:
    return Laboratory(name, servers, settings="tools.benchmarks.settings", logs=LOGS)


def measure(lab: Laboratory, name: str, *, quick: bool) -> list[dict[str, Any]]:
    """Run one benchmark in its laboratory, new and empty, and gone afterwards. Raises RuntimeError if it fails."""
    command = [sys.executable, "-m", "tools.benchmarks.run", name, "quick" if quick else "full"]
    lab.remove()
    lab.create(template=TEMPLATE)
    try:
        with subprocess.Popen(command, cwd=ROOT, env=lab.env, stdout=subprocess.PIPE, text=True) as child:
            try:
                printed, _ = child.communicate()
            except BaseException:
                # It has processes of its own to end.
                child.terminate()
                child.wait(90)
                raise
        if child.returncode:
            raise RuntimeError(f"{name} ended with code {child.returncode}: the lines above say why.")
    finally:
        lab.remove()
    results: list[dict[str, Any]] = json.loads(printed)
    return results


def machine() -> dict[str, Any]:
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cores": os.cpu_count(),
        "cpu": cpus[0] if cpus else platform.machine(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
        # Above zero, others use it too: read the ratios, not the figures.
        "load_before": os.getloadavg()[0],
    }


def versions(servers: Mapping[str, str]) -> dict[str, str]:
    with psycopg.connect(servers["DATABASE_URL"]) as connection:
        (postgresql,) = connection.execute("SHOW server_version").fetchone() or ("",)
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "postgresql": postgresql.split()[0],
        "rabbitmq": Management(servers["MANAGEMENT_URL"]).ask("GET", "overview")["rabbitmq_version"],
    }


def table(results: list[dict[str, Any]]) -> Table:
    shown = Table(title="Ratios are better when higher.", box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("", no_wrap=True)
    for heading in ("ours", "baseline", "", "ratio", "wanted"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        wanted, holds = result["wanted"], result["holds"]
        shown.add_row(
            result["name"],
            figure(result["ours"]),
            figure(result["baseline"]),
            result["unit"],
            f"{result['ratio']:.2f}",
            "" if wanted is None else f"{wanted:.2f} {'yes' if holds else 'NO'}",
            style="bold red" if holds is False else "",
        )
    return shown


def figure(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
