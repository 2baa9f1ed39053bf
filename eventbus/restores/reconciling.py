"""After the database was restored to a moment: what it has forgotten and the queues have not, and what consumers lack.

Consumers must rest meanwhile: an event that the database has forgotten would have its effect, and then once more, when
what led to it is handled again. docs/decisions/0024 has the reasoning.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from django.db import transaction

from eventbus.archive import import_
from eventbus.archive.import_ import ArchiveConflict
from eventbus.archive.partitions import create_partitions, month_start
from eventbus.broker.connection import connect, declaring_url
from eventbus.contracts.casting import cast
from eventbus.contracts.event import Event
from eventbus.db.clock import database_time
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS
from eventbus.errors import EventbusError, PermanentFailure
from eventbus.failpoints import failpoint
from eventbus.ids import first_id_at, moment_of
from eventbus.relay import lost_queues
from eventbus.restores import queues
from eventbus.restores.hooks import HOLDS, TAKERS
from eventbus.restores.models import Reconciliation
from eventbus.restores.queues import Forgotten, described
from eventbus.restores.timeline import timeline
from eventbus.subscriptions.lost_queues import send_again

log = structlog.get_logger(__name__)

BY = "reconcile"
STORIES = "SELECT DISTINCT correlation_id FROM event WHERE correlation_id = ANY(%s)"
SEND = "INSERT INTO outbox (event_id, aggregate_id) VALUES (%s, %s)"

NOBODY = "nobody does it again by itself: do what it reports once more, if it is still wanted"
NO_CAUSE = "what led to it is forgotten, too"


class StillConsumed(EventbusError):
    """Workers or dead-letter processes run, and would handle what has to be sorted first."""


class NotRemoved(EventbusError):
    """Somebody has messages in hand that have to go."""


@dataclass
class Sorted:
    """What becomes of forgotten events. `set_aside` are for people, each with the reason."""

    taken_back: list[Event] = field(default_factory=list)
    made_again: list[Event] = field(default_factory=list)
    set_aside: list[tuple[Event, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "takenBack": [described(event) for event in self.taken_back],
            "madeAgain": [described(event) for event in self.made_again],
            "setAside": [{"event": described(event), "why": why} for event, why in self.set_aside],
        }


def reconcile(restored_to: datetime, into: Path, *, events: Iterable[bytes] = (), dry_run: bool = False) -> Sorted:
    """Bring database and broker together; returns what became of the events that the database has forgotten.

    `events`: envelopes that were saved elsewhere, such as an export of the old database. All that is forgotten is
    written to the file `into`, which must not be there yet, before anything is removed from a queue. Killed, it can be
    run again. Raises StillConsumed, NotRemoved, FileExistsError and other OSErrors, DatabaseError or one of
    BROKER_ERRORS.
    """
    with connect(declaring_url()) as broker:
        if not dry_run:
            lost_queues.declare(broker)
        channel = broker.channel()
        looked_through = queues.names(broker)
        if busy := queues.consumed(channel, looked_through):
            raise StillConsumed(
                f"{', '.join(busy)} are consumed: stop web, workers and worker_dead_letters first, and run this again."
            )
        found = queues.look_through(channel, looked_through, restored_to)
    found.look_at(list(events), "the file", restored_to)
    if found.events and not dry_run:
        create_partitions(sorted({month_start(moment_of(event_id)) for event_id in found.events}))
    with transaction.atomic():
        result = sort(found)
        if dry_run:
            transaction.set_rollback(True)
            return result
        _follow(restored_to, result)
        if found.events:
            _save(into, found)
    failpoint("reconcile.before_removing")
    with connect(declaring_url()) as broker:
        if left := queues.remove(broker.channel(), looked_through, found):
            raise NotRemoved(f"{left} messages of forgotten events were not back in their queues. Run it again.")
    counts = {what: len(events) for what, events in result.as_json().items()}
    log.warning("database.reconciled", restored_to=restored_to.isoformat(), **counts)
    return result


def _follow(restored_to: datetime, result: Sorted) -> None:
    """Note it, hold what may have been done outside, and start to send consumers what they lack."""
    Reconciliation.objects.create(
        timeline=timeline(),
        restored_to=restored_to,
        first_id=first_id_at(database_time()),
        taken_back=len(result.taken_back),
        made_again=len(result.made_again),
        set_aside=len(result.set_aside),
    )
    for hold in HOLDS:
        hold()
    for name in sorted(CONSUMERS):
        send_again(name, by=BY)


def sort(found: Forgotten) -> Sorted:
    """Take back what can be, and say what becomes of the rest. Call it in the transaction of the whole."""
    result = Sorted()
    stories = {event.envelope.metadata.correlation_id for event in found.events.values()}
    known = {story for (story,) in fetch(STORIES, [list(stories)])}
    # What began a story is older than what follows from it, and so before it here.
    for event_id, event in sorted(found.events.items()):
        story = event.envelope.metadata.correlation_id
        if event.envelope.metadata.causation_id is None:
            if why := _take_back(event, found.bodies[event_id]):
                result.set_aside.append((event, why))
            else:
                result.taken_back.append(event)
                known.add(story)
        # The inbox of the consumer that made it has forgotten its cause together with it, and handles that again.
        elif story in known:
            result.made_again.append(event)
        else:
            result.set_aside.append((event, NO_CAUSE))
    return result


def _take_back(event: Event, body: bytes) -> str:
    """Archive the event, make its change again and have it sent to everybody; returns why not."""
    contract = next((each for each in TAKERS if each.type == event.type), None)
    if contract is None:
        return NOBODY
    try:
        with transaction.atomic():
            import_.store([body])
            TAKERS[contract](cast(event, contract))
            fetch(SEND, [event.envelope.event_id, event.aggregate_id])
    except (ArchiveConflict, PermanentFailure) as error:
        return str(error)
    return ""


def _save(into: Path, found: Forgotten) -> None:
    """One envelope a line, oldest first. It holds personal data: only the owner may read it."""
    with open(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(found.bodies[event_id] + b"\n" for event_id in sorted(found.bodies))
        file.flush()
        os.fsync(file.fileno())
