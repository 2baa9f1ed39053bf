"""How the bus is doing right now: outbox, relays, queues and who consumes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from amqp import NotFound
from django.db import connection
from django.db.models import Count

from eventbus.broker.connection import BROKER_ERRORS, connect
from eventbus.conf import bus_settings
from eventbus.dead_letters.models import DeadLetter, DeadLetterState
from eventbus.declaration import CONSUMERS
from eventbus.heartbeats.processes import RELAY, ProcessStatus, processes
from eventbus.monitoring.full_queues import full_queues
from eventbus.relay.older_readers import OlderReaders, bindings, older_readers
from eventbus.restores.backups import BackupStatus, backup_status
from eventbus.retries.queries import RetryStatus, by_consumer

# Joined for the first row only: positions follow the time closely enough, and there may be a million.
OUTBOX = """
SELECT count(*), count(blocked_key), coalesce((
    SELECT extract(epoch FROM now() - e.occurred_at)::float8
    FROM outbox o JOIN event e ON e.id = o.event_id ORDER BY o.position LIMIT 1
), 0)
FROM outbox
"""


@dataclass(frozen=True)
class QueueStatus:
    """`ready` counts messages that wait; those in a worker's hands are not in it. `ready` is None: no such queue.

    `dead` counts the dead letters that nobody has settled yet.
    """

    name: str
    ready: int | None
    consumers: int
    dead: int


@dataclass(frozen=True)
class BusStatus:
    """`oldest_seconds` is the age of the oldest event that is not published yet; `blocked` wait for a full queue.

    `full` has the full queues by name, each with how many events wait for it. `retries` has the consumers with retries
    that wait. `relays`: those that are connected and give signs of life. `backups` is None where PostgreSQL archives
    nothing. `older_readers`: who still reads an older version of a contract.
    """

    outbox: int
    oldest_seconds: float
    relays: int
    queues: list[QueueStatus]
    blocked: int = 0
    full: dict[str, int] = field(default_factory=dict)
    processes: Sequence[ProcessStatus] = ()
    retries: dict[str, RetryStatus] = field(default_factory=dict)
    backups: BackupStatus | None = None
    older_readers: Sequence[OlderReaders] = ()

    @property
    def is_staffed(self) -> bool:
        """Whether a relay is connected and every consumer has a worker."""
        return self.relays > 0 and all(queue.consumers > 0 for queue in self.queues)

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits in the outbox, in a consumer's queue or for its next attempt."""
        waits = any(queue.ready != 0 or queue.name in self.retries for queue in self.queues)
        return self.outbox == 0 and not waits


def bus_status() -> BusStatus:
    """Ask database and broker. Raises DatabaseError or one of BROKER_ERRORS when one does not answer."""
    with connection.cursor() as cursor:
        cursor.execute(OUTBOX)
        outbox, blocked, oldest = cursor.fetchone() or (0, 0, 0.0)
    found = processes()
    relays = sum(process.alive for process in found if process.kind == RELAY)
    full = full_queues() if blocked else {}
    older = older_readers(bindings())
    return BusStatus(outbox, oldest, relays, _queues(), blocked, full, found, by_consumer(), backup_status(), older)


def bus_status_or_error() -> tuple[BusStatus | None, str]:
    """The status, or why the broker does not answer. Raises DatabaseError."""
    try:
        return bus_status(), ""
    except BROKER_ERRORS as error:
        return None, f"{type(error).__name__}: {error}"


def _queues() -> list[QueueStatus]:
    found = []
    with connect(bus_settings.BROKER_URL) as broker:

        def ask(name: str) -> tuple[int | None, int]:
            try:
                with broker.channel() as channel:
                    answer = channel.queue_declare(name, passive=True)
                    return answer.message_count, answer.consumer_count
            except NotFound:
                return None, 0

        stored = dict(
            DeadLetter.objects.filter(state=DeadLetterState.OPEN).values_list("consumer").annotate(number=Count("id"))
        )
        for consumer in CONSUMERS.values():
            ready, consumers = ask(consumer.name)
            on_the_way, _ = ask(consumer.dead_queue)
            dead = (on_the_way or 0) + stored.get(consumer.name, 0)
            found.append(QueueStatus(consumer.name, ready, consumers, dead))
    return found
