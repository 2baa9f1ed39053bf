"""What is due goes to its consumer's queue: a relay sends it. As many relays as there are share the work."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

import structlog
from django.db import connection, transaction

from eventbus.broker.message import fits_property
from eventbus.broker.publisher import ConfirmingPublisher, Outgoing
from eventbus.db.crypto import UnreadablePayload, decrypt
from eventbus.failpoints import failpoint

log = structlog.get_logger(__name__)

WINDOW = 500
WINDOW_BYTES = 8_000_000
#: Seconds between two looks at least, and at most while there is no pause in which the idle relay would learn of one.
LOOK_EVERY = 0.2
LOOK_AT_LEAST_EVERY = 2.0

#: In how many seconds the next one is due: the idle relay asks for it in a query that it makes anyhow.
SECONDS_TO_NEXT = "(SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM waiting_retry)"

# Not clock_timestamp(): with a function whose value changes within the statement, the index would be read to its end.
IS_DUE = "due_at <= statement_timestamp()"
CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT id, due_at, octet_length(body) AS size FROM waiting_retry WHERE {IS_DUE}
    ORDER BY due_at LIMIT {WINDOW} FOR UPDATE SKIP LOCKED
), sized AS (
    SELECT id, sum(size) OVER (ORDER BY due_at, id) - size AS before FROM due
)
SELECT w.id, w.consumer, w.body, w.headers, w.properties FROM sized JOIN waiting_retry w USING (id)
WHERE before < {WINDOW_BYTES} ORDER BY w.due_at, w.id
"""
SENT = "DELETE FROM waiting_retry WHERE id = ANY(%s)"
# All of the queue's that come due until then, and all to the same moment: one refusal tells about all of them, and each
# costs the relay its connection. What another relay has in its hands it puts off itself.
PUT_OFF = f"""
WITH pauses AS MATERIALIZED (
    SELECT consumer, interval '1 second' * least(60, 2 ^ least(max(refusals), 6)) * (0.5 + random() / 2) AS pause
    FROM waiting_retry WHERE {IS_DUE} AND consumer = ANY(%s) GROUP BY consumer
), refused AS (
    SELECT w.id, statement_timestamp() + p.pause AS until FROM waiting_retry w JOIN pauses p USING (consumer)
    WHERE w.due_at <= statement_timestamp() + p.pause FOR UPDATE OF w SKIP LOCKED
)
UPDATE waiting_retry w SET refusals = w.refusals + 1, due_at = r.until FROM refused r WHERE w.id = r.id
"""
PUT_OFF_UNREADABLE = """
UPDATE waiting_retry SET refusals = refusals + 1, due_at = clock_timestamp() + interval '1 minute' WHERE id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of what was due: how many retries were sent, and which queues took theirs not."""

    retries: int = 0
    refused: frozenset[str] = frozenset()


class RetrySender:
    """Sends the retries that are due with a relay's publisher. Dying inside repeats, never skips."""

    def __init__(self, publisher: ConfirmingPublisher) -> None:
        self.publisher = publisher
        self._looked_at = -inf
        self._look_at = -inf

    def send_due(self) -> Sent:
        """Send what is due, if it is time to look. A queue that is full or missing delays its own retries only.

        Raises DatabaseError, InterfaceError, or what publishing raises.
        """
        if monotonic() < self._look_at:
            return Sent()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(CLAIM)
            sent = self._send(cursor.fetchall())
        self._looked_at = monotonic()
        self._look_at = self._looked_at if sent.retries else self._looked_at + LOOK_EVERY
        return sent

    def expect(self, seconds: float | None) -> float:
        """The next one is due in so many seconds, None: there is none. Returns for how long there is nothing to do."""
        left = inf if seconds is None else max(seconds, self._looked_at + LOOK_EVERY - monotonic())
        self._look_at = monotonic() + min(left, LOOK_AT_LEAST_EVERY)
        return left

    def _send(self, rows: Sequence[tuple[int, str, bytes, str, str]]) -> Sent:
        window, ids, unreadable = [], [], []
        for row_id, consumer, body, headers, properties in rows:
            try:
                window.append(as_message(consumer, body, headers, properties))
                ids.append(row_id)
            except UnreadablePayload as error:
                log.error("retry.unreadable", consumer=consumer, retry=row_id, error=str(error))
                unreadable.append(row_id)
        confirmed = self.publisher.send(window) if window else set()
        failpoint("retries.after_confirm")
        refused = frozenset(each.routing_key for place, each in enumerate(window) if place not in confirmed)
        with connection.cursor() as cursor:
            if confirmed:
                cursor.execute(SENT, [[ids[place] for place in confirmed]])
            if refused:
                cursor.execute(PUT_OFF, [sorted(refused)])
            if unreadable:
                cursor.execute(PUT_OFF_UNREADABLE, [unreadable])
        if refused:
            log.warning("retries.refused", queues=sorted(refused), retries=len(window) - len(confirmed))
        return Sent(len(confirmed), refused)


def as_message(consumer: str, body: bytes, headers: str, properties: str) -> Outgoing:
    """The message as it goes to the consumer's queue, and to nobody else. Raises UnreadablePayload."""
    kept = {name: value for name, value in json.loads(properties).items() if fits_property(name, value)}
    return Outgoing("", consumer, decrypt(body), {**kept, "application_headers": json.loads(headers)})
