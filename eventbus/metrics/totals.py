"""What this process has counted and not yet added to the table, and the table."""

import os
import threading
from collections import defaultdict
from collections.abc import Mapping

from eventbus.db.sql import fetch

#: Metric, values of its labels with a blank between them, and the part of a histogram.
Key = tuple[str, str, str]

# In one order for all, so that two processes cannot deadlock.
ADD = """
INSERT INTO bus_total AS total (metric, labels, part, value)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[]) AS t(metric, labels, part, value)
ORDER BY metric, labels, part
ON CONFLICT (metric, labels, part) DO UPDATE SET value = total.value + EXCLUDED.value
"""
ALL = "SELECT metric, labels, part, value FROM bus_total"

_counted: defaultdict[Key, float] = defaultdict(float)
_lock = threading.Lock()


def _begin_anew() -> None:
    """In a child: what its parent has counted, the parent will add."""
    _counted.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_anew)


def count(more: Mapping[Key, float]) -> None:
    """Remember until the next flush(). A process that is killed before that has not counted it."""
    with _lock:
        for key, by in more.items():
            _counted[key] += by


def flush() -> None:
    """Add what was counted since the last time to the table. Raises DatabaseError: then it is kept for later."""
    with _lock:
        counted = dict(_counted)
        _counted.clear()
    try:
        add(counted)
    except BaseException:
        count(counted)
        raise


def add(totals: Mapping[Key, float]) -> None:
    """Add to the table at once, in the caller's transaction. Raises DatabaseError."""
    if totals:
        metrics, labels, parts = zip(*totals, strict=True)
        fetch(ADD, [list(metrics), list(labels), list(parts), [*map(float, totals.values())]])


def read() -> dict[Key, float]:
    """The whole table. Raises DatabaseError."""
    return {(metric, labels, part): value for metric, labels, part, value in fetch(ALL)}
