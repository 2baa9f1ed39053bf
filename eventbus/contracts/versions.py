"""Versions of contracts, `<major>.<minor>`: what an event is routed by is its type and the major one alone.

A minor version adds what its readers may leave out, so a consumer of `order.created.v1` reads them all.
"""

#: How a version is written.
VERSION = r"^[0-9]{1,6}\.[0-9]{1,6}$"

#: The routing key of a row of the table `event`, called `e`, as SQL. It says what `routing_key` says.
ROUTING_KEY = "e.type || '.v' || split_part(e.version, '.', 1)"


def routing_key(event_type: str, version: str) -> str:
    """`<event type>.v<major version>`: what messages carry and queues are bound to."""
    return f"{event_type}.v{major(version)}"


def major(version: str) -> str:
    """What stands before the first point of a version."""
    return version.partition(".")[0]


def event_type_of(key: str) -> str:
    """The event type that a routing key begins with."""
    return key.rpartition(".v")[0]
