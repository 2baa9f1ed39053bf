"""Logs of the gateway, of channels, of the mail server, compared with the database."""

from collections.abc import Iterable
from pathlib import Path

from eventbus.restores.hooks import EVIDENCE


def forgotten_by(logs: Iterable[Path]) -> dict[str, list[str]]:
    """What these logs prove and the database doesn't know, by kind of evidence. Raises OSError."""
    found: dict[str, set[str]] = {each.what: set() for each in EVIDENCE}
    for log in logs:
        with log.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                for each in EVIDENCE:
                    found[each.what].update(each.pattern.findall(line))
    return {each.what: sorted(each.unknown(found[each.what])) for each in EVIDENCE}
