"""Dead letters on their way into the table: a batch in one transaction, and each once however often it comes."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from eventbus.conf import bus_settings
from eventbus.contracts.exact_json import encode_json
from eventbus.db.crypto import encrypt
from eventbus.dead_letters.fingerprint import fingerprint
from eventbus.dead_letters.message import DeadMessage
from eventbus.errors import UNREAD

UNREAD_REASONS = sorted(reason.value for reason in UNREAD)
COLUMNS = """index int, consumer text, body text, body_hash text, event_id uuid, event_type text, aggregate_id text,
    correlation_id text, reason text, error_class text, error_message text, traceback text, attempts jsonb,
    first_failed_at timestamptz, failed_at timestamptz, code_version text, headers jsonb, properties jsonb,
    replay_id uuid, letter_id bigint, arrivals int, group_id bigint, drop_at timestamptz, fingerprint text"""
INCOMING = f"incoming AS MATERIALIZED (SELECT * FROM json_to_recordset(%s::json) AS t({COLUMNS}))"

# A letter whose headers name a replay is that replay's failure, if the row is still in that replay. What is not newer
# than what is known is a letter that came twice: its ingester, or the worker that wrote it, died before the ack.
SORT = f"""
WITH {INCOMING}
SELECT i.index, CASE
    WHEN d.id IS NOT NULL THEN CASE d.state WHEN 'replaying' THEN 'again' ELSE 'known' END
    WHEN EXISTS (SELECT FROM dead_letter s WHERE s.consumer = i.consumer
                 AND s.body_hash = decode(i.body_hash, 'hex') AND s.failed_at >= i.failed_at) THEN 'known'
    ELSE 'new' END
FROM incoming i
LEFT JOIN dead_letter d ON d.id = i.letter_id AND d.replay_id = i.replay_id AND d.consumer = i.consumer
"""
# Locks the rows: a handler that is about to finish one waits for us, and its trigger then finds the letter.
NOTE_DEAD = f"""
WITH {INCOMING}
INSERT INTO processed_event AS noted (event_id, consumer, attempts, outcome)
SELECT DISTINCT event_id, consumer, 1, 'dead' FROM incoming WHERE event_id IS NOT NULL AND reason <> ALL(%s)
ORDER BY event_id, consumer
ON CONFLICT (event_id, consumer) DO UPDATE SET attempts = noted.attempts WHERE noted.outcome = 'dead'
"""
GROUPS = """
INSERT INTO dead_letter_group AS known
    (fingerprint, consumer, error_class, place, sample, state, note, first_seen, last_seen, seen, resolved_by)
SELECT fingerprint, consumer, error_class, place, sample, 'open', '', first_seen, last_seen, seen, ''
FROM json_to_recordset(%s::json) AS t(fingerprint text, consumer text, error_class text, place text, sample text,
                                      first_seen timestamptz, last_seen timestamptz, seen bigint)
ORDER BY fingerprint
ON CONFLICT (fingerprint) DO UPDATE SET
    state = CASE WHEN known.state = 'resolved' AND EXCLUDED.last_seen > known.resolved_at
                 THEN 'regressed' ELSE known.state END,
    sample = EXCLUDED.sample, last_seen = greatest(known.last_seen, EXCLUDED.last_seen),
    seen = known.seen + EXCLUDED.seen
RETURNING fingerprint, id
"""
HOURS = f"""
WITH {INCOMING}
INSERT INTO dead_letter_hour AS known (group_id, hour, letters)
SELECT group_id, date_trunc('hour', failed_at, 'UTC'), sum(arrivals) FROM incoming GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (group_id, hour) DO UPDATE SET letters = known.letters + EXCLUDED.letters
"""
NEWEST_FAILURE = """reason = {new}.reason, error_class = {new}.error_class, error_message = {new}.error_message,
    traceback = {new}.traceback, failed_at = {new}.failed_at, code_version = {new}.code_version,
    group_id = {new}.group_id, arrivals = {known}.arrivals + {new}.arrivals"""
FAILED_AGAIN = f"""
WITH {INCOMING}, failed AS (
    UPDATE dead_letter d SET state = 'open', attempts = d.attempts || i.attempts,
        {NEWEST_FAILURE.format(new="i", known="d")}
    FROM incoming i WHERE d.id = i.letter_id AND d.replay_id = i.replay_id AND d.state = 'replaying'
    RETURNING d.id, d.replay_id, d.failed_at, d.error_class, d.error_message
)
UPDATE replay_item r SET outcome = 'failed', settled_at = f.failed_at, error = f.error_class || ': ' || f.error_message
FROM failed f WHERE r.replay_id = f.replay_id AND r.letter_id = f.id AND r.outcome = 'waiting'
"""
INSERT = f"""
WITH {INCOMING}
INSERT INTO dead_letter AS known (consumer, body, body_hash, event_id, event_type, aggregate_id, correlation_id, reason,
    error_class, error_message, traceback, attempts, first_failed_at, failed_at, code_version, headers, properties,
    group_id, arrivals, drop_at, state, settled_by, discard_reason)
SELECT consumer, decode(body, 'base64'), decode(body_hash, 'hex'), event_id, event_type, aggregate_id, correlation_id,
    reason, error_class, error_message, traceback, attempts, first_failed_at, failed_at, code_version, headers,
    properties, group_id, arrivals, drop_at, 'open', '', ''
FROM incoming ORDER BY consumer, body_hash
ON CONFLICT (consumer, body_hash) WHERE state IN ('open', 'replaying') DO UPDATE SET attempts = EXCLUDED.attempts,
    {NEWEST_FAILURE.format(new="EXCLUDED", known="known")}
RETURNING id
"""
# The event may have been handled by another delivery by the time its dead letter is stored. If it is handled later, the
# trigger on the inbox does the same: see `eventbus.dead_letters`.
HEAL = """
UPDATE dead_letter d SET state = 'replayed', settled_at = now(), settled_by = 'another delivery'
FROM processed_event p
WHERE d.id = ANY(%s) AND d.state = 'open' AND d.reason <> ALL(%s)
  AND p.event_id = d.event_id AND p.consumer = d.consumer AND p.outcome = 'done'
"""


def ingest(messages: Sequence[DeadMessage]) -> int:
    """Store what came from the dead-letter queues, all or none; returns how many were not known before.

    A message comes twice when something died between a publish and an acknowledgement; it is stored once.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SORT, [_json(_keys(messages))])
        kinds = dict(cursor.fetchall())
        new = _fold((each.consumer, each.body_hash, each) for n, each in enumerate(messages) if kinds[n] == "new")
        again = _fold((each.letter_id, None, each) for n, each in enumerate(messages) if kinds[n] == "again")
        if not new and not again:
            return 0
        cursor.execute(NOTE_DEAD, [_json([*new, *again]), UNREAD_REASONS])
        _group(cursor, [*new, *again])
        if again:
            cursor.execute(FAILED_AGAIN, [_json(again)])
        if new:
            _insert(cursor, new)
    return len(new)


def _insert(cursor: Any, rows: list[dict[str, Any]]) -> None:
    cursor.execute(INSERT, [_json(rows)])
    ids = [letter_id for (letter_id,) in cursor.fetchall()]
    cursor.execute(HEAL, [ids, UNREAD_REASONS])


def _group(cursor: Any, rows: list[dict[str, Any]]) -> None:
    """Count the rows in their groups, make the groups that are new, and note each row's group in it."""
    groups: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["failed_at"]):
        group = groups.setdefault(row["fingerprint"], {**row, "seen": 0, "first_seen": row["failed_at"]})
        group.update(
            last_seen=row["failed_at"], sample=row["error_message"][:500], seen=group["seen"] + row["arrivals"]
        )
    cursor.execute(GROUPS, [_json(groups.values())])
    ids = dict(cursor.fetchall())
    for row in rows:
        row["group_id"] = ids[row["fingerprint"]]
    cursor.execute(HOURS, [_json(rows)])


def _fold(messages: Iterable[tuple[Any, Any, DeadMessage]]) -> list[dict[str, Any]]:
    """One row for all messages with the same key, with the newest of their failures."""
    rows: dict[Any, dict[str, Any]] = {}
    times: dict[Any, set[datetime]] = {}
    for *parts, message in sorted(messages, key=lambda keyed: keyed[2].failed_at):
        key = tuple(parts)
        times.setdefault(key, set()).add(message.failed_at)
        rows[key] = _row(message) | {"arrivals": len(times[key])}
    for row in rows.values():
        row["body"] = b64encode(encrypt(row["body"])).decode()
    return list(rows.values())


def _keys(messages: Iterable[DeadMessage]) -> list[dict[str, Any]]:
    return [_row(message) | {"body": "", "index": index} for index, message in enumerate(messages)]


def _row(message: DeadMessage) -> dict[str, Any]:
    place = message.code_place or f"({message.reason})"
    return {
        **asdict(message),
        "body_hash": message.body_hash.hex(),
        "place": place,
        "fingerprint": fingerprint(message.consumer, message.error_class, place),
        # From when it is stored: a letter that waited long in its queue is not dropped for that.
        "drop_at": datetime.now(UTC) + timedelta(days=bus_settings.DEAD_LETTER_DAYS),
    }


def _json(rows: Iterable[dict[str, Any]]) -> str:
    return encode_json(list(rows)).decode()
