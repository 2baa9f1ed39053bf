"""Who still reads an older version of a contract, and so gets a copy of each event in that version beside the event.

Declared consumers are known. Another program's queue is seen by RabbitMQ's management API alone; where that can't be
asked, somebody may be there, and the copies go out.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from urllib.parse import quote

import structlog

from eventbus.broker.management import ask, vhost
from eventbus.broker.message import to_message
from eventbus.broker.publisher import Outgoing
from eventbus.broker.topology import EVENTS
from eventbus.conf import bus_settings
from eventbus.contracts.casting import cast, older_versions
from eventbus.contracts.codec import from_row
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.rows import WireFields
from eventbus.contracts.versions import routing_key
from eventbus.declaration import CONSUMERS
from eventbus.errors import InvalidEvent

log = structlog.get_logger(__name__)

#: Seconds between two looks at who is bound to what.
LOOK_EVERY = 15.0


@dataclass(frozen=True)
class OlderReaders:
    """Who reads an older version, by name. `unasked`: there may be others, of which nothing is known."""

    event_type: str
    version: str
    consumers: tuple[str, ...]
    others: tuple[str, ...] = ()
    unasked: bool = False

    def __bool__(self) -> bool:
        return bool(self.consumers or self.others or self.unasked)


def older_readers(bound: "Bindings | None") -> list[OlderReaders]:
    """Of each older version as which newer events can be told: who reads it."""
    found = []
    for contract in CONTRACTS.values():
        for older in older_versions(contract.type, contract.version):
            key, newer = older.routing_key(), contract.routing_key()
            declared = sorted(each.name for each in CONSUMERS.values() if older in each.on)
            others = sorted(strangers(bound, key, newer)) if bound is not None else []
            found.append(OlderReaders(older.type, older.version, tuple(declared), tuple(others), bound is None))
    return found


#: The queues that are bound to the exchange of events, each with a key or a pattern.
Bindings = list[tuple[str, str]]


def bindings() -> Bindings | None:
    """Ask the broker; None where it can't be asked."""
    if not bus_settings.MANAGEMENT_URL:
        return None
    try:
        found = ask(f"exchanges/{vhost()}/{quote(EVENTS, safe='')}/bindings/source")
        return [(each["destination"], each["routing_key"]) for each in found]
    except (OSError, HTTPException, ValueError, KeyError) as error:
        log.warning("older_readers.not_asked", error=type(error).__name__)
        return None


def strangers(bound: Bindings, older: str, newer: str) -> set[str]:
    """The queues of no declared consumer that get the older key and not the newer one."""
    reach: dict[str, set[bool]] = {}
    for queue, pattern in bound:
        if queue not in CONSUMERS:
            reach.setdefault(queue, set()).update(key == newer for key in (older, newer) if matches(pattern, key))
    return {queue for queue, found in reach.items() if found == {False}}


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange routes this key by that pattern."""
    words = [{"*": r"[^.]+", "#": r".*"}.get(word, re.escape(word)) for word in pattern.split(".")]
    # A `#` stands for no word as well, with the point beside it.
    text = r"\.".join(words).replace(r"\..*", r"(\..*)?").replace(r".*\.", r"(.*\.)?")
    return re.fullmatch(text, key) is not None


class OlderVersions:
    """The messages that tell an event to those who know older versions, for as long as somebody does."""

    def __init__(self) -> None:
        self._wanted: Callable[[type[Event]], bool] = lambda contract: True
        # By event type and version, until the next look: the relay asks for each event.
        self._kept: dict[tuple[str, str], list[type[Event]]] = {}

    def look(self) -> None:
        """Find out who is there."""
        read = {routing_key(each.event_type, each.version) for each in older_readers(bindings()) if each}
        self._wanted = lambda contract: contract.routing_key() in read
        self._kept = {}

    def keep_looking(self, stopping: threading.Event) -> None:
        """Look now and then, in a thread of its own: the broker may take its time to answer."""
        if any(older_versions(each.type, each.version) for each in CONTRACTS.values()):
            threading.Thread(target=self._run, args=[stopping], name="older readers", daemon=True).start()

    def _run(self, stopping: threading.Event) -> None:
        while True:
            self.look()
            if stopping.wait(LOOK_EVERY):
                return

    def of(self, fields: WireFields) -> tuple[Outgoing, ...]:
        """The messages that tell this event to those who know older versions."""
        wanted = self._wanted_of(fields.event_type, fields.version)
        if not wanted:
            return ()
        try:
            event = from_row(fields)
            return tuple(_copy(fields, cast(event, older)) for older in wanted)
        except InvalidEvent as error:
            # The event itself goes out all the same. The delivery audit names whoever misses the copy.
            log.error("older_readers.no_copy", event_id=str(fields.event_id), error=str(error))
            return ()

    def _wanted_of(self, event_type: str, version: str) -> list[type[Event]]:
        """The older contracts that somebody reads."""
        kept, key = self._kept, (event_type, version)
        if key not in kept:
            kept[key] = [each for each in older_versions(event_type, version) if self._wanted(each)]
        return kept[key]


def _copy(fields: WireFields, told: Event) -> Outgoing:
    return to_message(replace(fields, version=told.version, data=told.data().decode()))
