"""What the commands for dead letters and for waiting retries share: the filters, and who acts."""

import getpass
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from re import fullmatch
from typing import Any

from django.core.management.base import CommandError

from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup
from eventbus.dead_letters.selection import Selection
from eventbus.declaration import CONSUMERS
from eventbus.retries.queries import waiting_retries

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_filters(parser: ArgumentParser) -> None:
    """The filters, the same for every command. All that are given must hold."""
    filters = parser.add_argument_group("which dead letters (all that are given must hold)")
    filters.add_argument("--id", type=int, nargs="+", default=[], metavar="ID", help="these dead letters")
    filters.add_argument("--group", nargs="+", default=[], metavar="GROUP", help="of these groups")
    filters.add_argument("--consumer", default="", help="of this consumer")
    filters.add_argument("--type", default="", help="of this event type, such as order.created")
    filters.add_argument("--error", default="", metavar="TEXT", help="whose error class or message contains this")
    when = "a time such as 2025-03-01T12:00 (UTC), or how long ago: 90m, 2h, 3d"
    filters.add_argument("--since", type=moment, metavar="TIME", help=f"that failed since then: {when}")
    filters.add_argument("--until", type=moment, metavar="TIME", help="that failed before then")
    filters.add_argument("--correlation-id", default="", metavar="ID", help="of this correlation id")
    filters.add_argument("--order", default="", metavar="ID", help="of this order (or other aggregate)")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N, the oldest first")


def selection(options: dict[str, Any]) -> Selection:
    """The filters as given. Raises CommandError for a name that nothing has."""
    consumer, groups = options["consumer"], options["group"]
    letters = DeadLetter.objects.all()
    if consumer and consumer not in CONSUMERS and not letters.filter(consumer=consumer).exists():
        known = ", ".join(sorted(CONSUMERS))
        raise CommandError(f"No consumer is called {consumer}. There are: {known}.", returncode=2)
    known_groups = DeadLetterGroup.objects.filter(fingerprint__in=groups).values_list("fingerprint", flat=True)
    if missing := set(groups) - set(known_groups):
        raise CommandError(f"No group {', '.join(missing)}. `list_dead_letters --groups` shows them.", returncode=2)
    return Selection(
        ids=options["id"],
        groups=groups,
        consumer=consumer,
        type=options["type"],
        error=options["error"],
        since=options["since"],
        until=options["until"],
        correlation_id=options["correlation_id"],
        order=options["order"],
    )


def require_filter(chosen: Selection, everything: bool) -> None:
    """A command that changes letters wants a filter, or --all: a slip must not hit every dead letter."""
    if not chosen.described() and not everything:
        raise CommandError("Say which dead letters: give a filter, or --all.", returncode=2)


def add_retry_filters(parser: ArgumentParser) -> None:
    """Which retries, for the commands that change them."""
    filters = parser.add_argument_group("which retries (all that are given must hold)")
    filters.add_argument("--id", type=int, nargs="+", default=[], metavar="ID", help="these, as waiting_retries shows")
    filters.add_argument("--consumer", default="", help="of this consumer")
    parser.add_argument("--all", action="store_true", help="every retry that waits")


def retry_filters(options: dict[str, Any]) -> dict[str, Any]:
    """The filters as given. Raises CommandError where none is, or for a consumer that nobody knows."""
    if not (options["id"] or options["consumer"] or options["all"]):
        raise CommandError("Say which retries: give a filter, or --all.", returncode=2)
    return {"ids": options["id"], "consumer": consumer_with_retries(options["consumer"])}


def consumer_with_retries(name: str) -> str:
    """The consumer's name as given. Raises CommandError where it is neither declared nor has a retry that waits."""
    if name and name not in CONSUMERS and not waiting_retries(consumer=name).exists():
        raise CommandError(f"No consumer is called {name}. There are: {', '.join(sorted(CONSUMERS))}.", returncode=2)
    return name


def actor() -> str:
    """Who runs the command."""
    return f"{getpass.getuser()} (command line)"


def moment(text: str) -> datetime:
    """A time, or how long ago."""
    ago = fullmatch(r"(\d{1,6})([mhd])", text)
    if ago:
        return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time: write 2025-03-01T12:00, or 90m, 2h, 3d") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def fraction(text: str) -> float:
    """A part of the whole, from 0 to 1."""
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found <= 1:
        raise ArgumentTypeError(f"{text!r} is not a part of the whole: write a number from 0 to 1")
    return found


def rate(text: str) -> float:
    """Messages per second."""
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found < 1_000_000:
        raise ArgumentTypeError(f"{text!r} is not a rate: write a number per second, such as 50")
    return found
