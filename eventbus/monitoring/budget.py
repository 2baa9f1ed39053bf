"""How many connections the processes may open at once, and how many the servers grant them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from eventbus.broker import management
from eventbus.broker.address import read_address
from eventbus.conf import bus_settings
from eventbus.db.sql import fetch
from eventbus.declaration import consumers_by_group
from eventbus.heartbeats.processes import RELAY, processes, worker_kind
from eventbus.monitoring import notifier
from eventbus.worker.lanes import UPKEEP_PROCESSES, may_share_sessions, pool_size

#: The thread that gives a process's signs of life.
HEARTBEAT = 1
#: What evaluates the alarms: to the database, and to the broker for a moment.
WATCHER = 1
#: The loops of the dead-letter process: to the database, and to the broker.
LOOPS = 4
#: Celery's worker itself: what it consumes by, and what it sends by.
CELERY_WORKER = 2
#: A process of the project's own.
OWN = 1
#: Flower listens, asks and shows.
FLOWER = 3
COMMANDS = 2

SERVER = """
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
       + coalesce(current_setting('reserved_connections', true)::int, 0),
       (SELECT count(*) FROM pg_stat_activity WHERE datname <> current_database()),
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class Need:
    """What each process of a kind may have open at once. `is_pooled`: to the database, through the pooler."""

    kind: str
    database: int
    broker: int
    is_pooled: bool = False
    copies: int = 1


@dataclass(frozen=True)
class Limit:
    """How many connections a server grants us all, and by which of its settings."""

    number: int
    by: str


def needs() -> list[Need]:
    """Of one process of each kind, by what is declared and set; of several for the web, which starts them itself."""
    couriers = len(notifier.channels())
    found = [
        Need("web", bus_settings.WEB_THREADS + HEARTBEAT, 0, is_pooled=True, copies=bus_settings.WEB_PROCESSES),
        Need(RELAY, 1 + HEARTBEAT + WATCHER + couriers, 2 + WATCHER),
        Need(worker_kind("dead_letters"), LOOPS + HEARTBEAT + WATCHER + couriers, LOOPS + WATCHER),
        Need(worker_kind("eventbus"), UPKEEP_PROCESSES + HEARTBEAT, CELERY_WORKER + UPKEEP_PROCESSES),
        Need("beat", HEARTBEAT, 1),
        Need("flower", 0, FLOWER),
        *(Need(kind, OWN + HEARTBEAT, 0) for kind in bus_settings.OWN_PROCESSES),
        # What a person runs beside all that, such as `migrate` and a second command.
        Need("commands", COMMANDS, COMMANDS),
    ]
    groups = {bus_settings.SMALL_CONSUMERS: [], **consumers_by_group()}
    for group, consumers in sorted(groups.items()):
        children = pool_size(consumers, bus_settings.WORKER_PROCESSES) if consumers else UPKEEP_PROCESSES
        is_pooled = may_share_sessions(consumers)
        found.append(Need(worker_kind(group), children + HEARTBEAT, CELERY_WORKER + children, is_pooled))
    return found


def running_needs() -> list[Need]:
    """The same, with as many of each kind as give signs of life where that is more. Raises DatabaseError."""
    alive = {each.kind: each.alive for each in processes()}
    return [
        Need(each.kind, each.database, each.broker, each.is_pooled, max(each.copies, alive.get(each.kind, 0)))
        for each in needs()
    ]


def database_limits() -> list[Limit]:
    """How many sessions PostgreSQL grants us. Raises DatabaseError."""
    ((most, reserved, others, of_role, of_database),) = fetch(SERVER)
    by = f"max_connections is {most}, less {reserved} reserved and {others} of other databases"
    limits = [Limit(most - reserved - others, by)]
    limits += [Limit(of_role, "the role's CONNECTION LIMIT")] if of_role >= 0 else []
    limits += [Limit(of_database, "the database's CONNECTION LIMIT")] if of_database >= 0 else []
    return limits


def broker_limits() -> list[Limit]:
    """How many connections RabbitMQ grants us, where it limits them and can be asked. Raises OSError, ValueError."""
    if not bus_settings.MANAGEMENT_URL:
        return []
    address = read_address(bus_settings.BROKER_URL)
    user = unquote(urlsplit(address.nodes.split(";")[0]).username or "guest")
    answers: list[tuple[str, Sequence[Any]]] = [
        ("the virtual host's", management.ask(f"vhost-limits/{management.vhost()}")),
        ("the user's", management.ask(f"user-limits/{quote(user, safe='')}")),
    ]
    return [
        Limit(number, f"{whose} max-connections")
        for whose, limits in answers
        for each in limits
        if (number := each["value"].get("max-connections", -1)) >= 0
    ]
