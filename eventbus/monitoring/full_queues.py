"""The names of the queues for which events wait in the outbox.

A refusal of the broker names no queue. That of a declared consumer is found by the relay; where it is none of those, it
is what a renamed consumer left behind, or another program's.
"""

from urllib.parse import quote

import structlog

from eventbus.broker.management import ask, vhost
from eventbus.broker.topology import EVENTS
from eventbus.conf import bus_settings
from eventbus.contracts.casting import older_versions
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS

log = structlog.get_logger(__name__)

REFUSED = "SELECT queue, count(*) FROM refused_delivery GROUP BY queue"
# Every declared queue has its copies, and the exchange still refuses.
BY_OTHERS = """
SELECT o.blocked_key, count(DISTINCT o.position)
FROM outbox o LEFT JOIN refused_delivery r ON r.position = o.position
WHERE o.blocked_key IS NOT NULL GROUP BY o.blocked_key HAVING count(r.queue) = 0
"""
GONE = "SELECT consumer FROM subscription WHERE routing_key = %s AND consumer <> ALL(%s) ORDER BY 1"


def full_queues() -> dict[str, int]:
    """How many events wait in the outbox for each full queue; raises DatabaseError.

    One that can't be named, without MANAGEMENT_URL, stands under the routing key that it refuses.
    """
    found: dict[str, int] = dict(fetch(REFUSED))
    for key, events in fetch(BY_OTHERS):
        for name in _left_over(key) or [key]:
            found[name] = found.get(name, 0) + events
    return found


def _left_over(key: str) -> list[str]:
    """The queues that may be the full one: bound to the key, and of no declared consumer."""
    try:
        bound = _bound_to(key) if bus_settings.MANAGEMENT_URL else []
    except (OSError, ValueError) as error:
        log.warning("full_queue.not_named", routing_key=key, error=f"{type(error).__name__}: {error}")
        bound = []
    return bound or [name for (name,) in fetch(GONE, [key, list(CONSUMERS)])]


def _bound_to(key: str) -> list[str]:
    """Of the strangers' queues that are bound to the key, those at a length limit; all of them where none has one."""
    bindings = ask(f"exchanges/{vhost()}/{quote(EVENTS, safe='')}/bindings/source")
    keys = {"#", key, *(older.routing_key() for older in older_versions(*key.rsplit(".v", 1)))}
    names = {each["destination"] for each in bindings if each["routing_key"] in keys} - set(CONSUMERS)
    queues = {name: ask(f"queues/{vhost()}/{quote(name, safe='')}") for name in names}
    return sorted(name for name in names if _has_limit(queues[name])) or sorted(names)


def _has_limit(queue: dict[str, object]) -> bool:
    limits = {"x-max-length", "x-max-length-bytes", "max-length", "max-length-bytes"}
    settings = [queue.get(part) for part in ("arguments", "effective_policy_definition")]
    return any(limits & set(each) for each in settings if isinstance(each, dict))
