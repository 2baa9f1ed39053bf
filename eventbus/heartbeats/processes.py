"""Which processes live, by their heartbeats."""

from dataclasses import dataclass, replace

from eventbus.conf import bus_settings
from eventbus.db.sessions import count_sessions
from eventbus.db.sql import fetch
from eventbus.declaration import consumers_by_group

#: Seconds without a sign of life after which a process does not count any more.
ALIVE = 25
#: The kind of relays, and the name of their sessions.
RELAY = "relay"

SEEN = """
SELECT kind, count(*) FILTER (WHERE age < %(alive)s), min(age),
       array_agg(DISTINCT code_version) FILTER (WHERE age < %(alive)s)
FROM (SELECT *, extract(epoch FROM clock_timestamp() - beat_at)::float8 AS age FROM heartbeat) AS aged
GROUP BY kind
"""


@dataclass(frozen=True)
class ProcessStatus:
    """How many of a kind live, and the seconds since the last sign of any; None: there was never one."""

    kind: str
    alive: int
    last_seconds: float | None
    versions: tuple[str, ...] = ()


def worker_kind(group: str) -> str:
    """The kind of the worker of a consumer group."""
    return f"worker_{group}"


def expected_kinds() -> list[str]:
    """The processes that the bus and the project can't do without, by what is declared and set."""
    groups = {*consumers_by_group(), bus_settings.SMALL_CONSUMERS, "dead_letters", "eventbus"}
    return [RELAY, *map(worker_kind, sorted(groups)), "beat", *bus_settings.OWN_PROCESSES]


def processes() -> list[ProcessStatus]:
    """Every kind that is expected, then every other that was ever seen. Raises DatabaseError."""
    seen = {
        kind: ProcessStatus(kind, alive, age, tuple(versions or ()))
        for kind, alive, age, versions in fetch(SEEN, {"alive": ALIVE})
    }
    if relay := seen.get(RELAY):
        # One that was killed has lost its session at once.
        seen[RELAY] = replace(relay, alive=min(relay.alive, count_sessions(RELAY)))
    expected = expected_kinds()
    return [seen.get(kind) or ProcessStatus(kind, 0, None) for kind in [*expected, *sorted(set(seen) - set(expected))]]
