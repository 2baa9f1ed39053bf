"""The command line of `script/chaos`."""

import argparse
import signal
import sys
from types import FrameType

import httpx

from tools.chaos import run, trials
from tools.chaos.baseline import PlainStage, baseline
from tools.chaos.faults import left_out
from tools.chaos.kinds import KINDS
from tools.chaos.plan import plan
from tools.chaos.stage import Stage


def main() -> int:
    arguments = parse()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    out = sys.stderr if arguments.json else sys.stdout

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    if arguments.breakage:
        return trials.main(arguments.breakage, control=arguments.control, as_json=arguments.json, say=say)
    kind, play = (PlainStage, baseline) if arguments.baseline else (Stage, run.chaos)
    minutes, seed = arguments.minutes, arguments.seed
    with kind() as stage:
        faults = plan(seed, minutes, arguments.faults)
        verdict = play(stage, faults, minutes=minutes, orders=arguments.orders, seed=seed, say=say)
    run.report(verdict, say=say, left_out=left_out())
    if arguments.json:
        print(run.details(verdict, seed=seed, left_out=left_out()))
    print(verdict.line(), flush=True)
    return 0 if verdict.is_clean else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/chaos",
        description="Runs the whole product on servers of its own, breaks it at random, and checks every effect. The "
        "last line is JSON. Exit 0: nothing lost, doubled or in limbo; 1: something; 2: it could not run.",
        epilog="Before all these, `--rabbitmq 4.0` or `4.3` runs it on that version.",
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long orders and faults come (%(default)s)")
    parser.add_argument("--orders", type=int, default=10_000, help="how many orders (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what the orders and the faults follow from (%(default)s)")
    parser.add_argument(
        "--faults", metavar="NAME,…", type=actions, default=(), help=f"only these kinds: {', '.join(KINDS)}"
    )
    parser.add_argument("--json", action="store_true", help="only JSON on standard output; progress goes to the other")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--baseline", action="store_true", help="the same on plain Celery with .delay() after the commit")
    kind.add_argument("--breakage", metavar="NAME", help="build the product wrong and aim at it; `all` for all")
    parser.add_argument("--control", action="store_true", help="with --breakage: the same aim at the product as it is")
    arguments = parser.parse_args()
    if not 0 < arguments.minutes <= 24 * 60 or not 0 < arguments.orders <= 1_000_000:
        parser.error("--minutes is above 0 and at most 1440, --orders from 1 to 1000000.")
    return arguments


def actions(text: str) -> list[str]:
    """The names of kinds of faults. Raises ArgumentTypeError."""
    names = [name.strip() for name in text.split(",")]
    if unknown := set(names) - set(KINDS):
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(sorted(unknown))}")
    return names


def stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("chaos: stopped.", file=sys.stderr)
        sys.exit(130)
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        sys.exit(2)
