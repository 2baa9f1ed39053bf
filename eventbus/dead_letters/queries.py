"""Reads of letters, groups and replays as plain data, for commands and pages."""

import difflib
import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import connection

from eventbus.db.crypto import UnreadablePayload, decrypt
from eventbus.dead_letters.models import DeadLetter, DeadLetterEdit, DeadLetterReplay
from eventbus.dead_letters.replays import outcomes

# Counted up to a limit: a page must not wait for the exact size of a heap.
COUNT_LIMIT = 10_000
OPEN_PER_GROUP = f"""
SELECT g.id, n.letters FROM unnest(%s::bigint[]) AS g(id), LATERAL (
    SELECT count(*) AS letters FROM (
        SELECT FROM dead_letter d WHERE d.group_id = g.id AND d.state = 'open' LIMIT {COUNT_LIMIT + 1}) few) n
"""
PER_DAY = """
SELECT group_id, (hour AT TIME ZONE 'UTC')::date, sum(letters)::int FROM dead_letter_hour
WHERE group_id = ANY(%s) AND hour >= %s GROUP BY 1, 2
"""
PER_HOUR = "SELECT hour, letters FROM dead_letter_hour WHERE group_id = %s AND hour >= %s"


def open_letters(group_ids: Iterable[int]) -> dict[int, int]:
    """How many letters of each group are open, at most one more than COUNT_LIMIT."""
    return dict(_rows(OPEN_PER_GROUP, [list(group_ids)]))


def per_day(group_ids: Iterable[int], days: int = 14) -> dict[int, list[tuple[date, int]]]:
    """How many letters of each group came on each of the last days."""
    ids, today = list(group_ids), datetime.now(UTC).date()
    first = today - timedelta(days=days - 1)
    found = {(group, day): letters for group, day, letters in _rows(PER_DAY, [ids, first])}
    calendar = [first + timedelta(days=n) for n in range(days)]
    return {group: [(day, found.get((group, day), 0)) for day in calendar] for group in ids}


def per_hour(group_id: int, hours: int = 48) -> list[tuple[datetime, int]]:
    """How many letters of the group came in each of the last hours."""
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = this_hour - timedelta(hours=hours - 1)
    found = dict(_rows(PER_HOUR, [group_id, first]))
    return [(hour, found.get(hour, 0)) for hour in (first + timedelta(hours=n) for n in range(hours))]


def payload(letter: DeadLetter | DeadLetterEdit) -> str:
    """The body as text for people: JSON with indents; what is not JSON, as it is. Never raises."""
    try:
        body = decrypt(letter.body)
    except UnreadablePayload as error:
        return f"({error})"
    # Fractions pass through as marked text: an amount of 10.00 must not become 10.0 in an editor.
    mark = uuid4().hex
    try:
        parsed = json.loads(body, parse_float=lambda digits: f"{mark}{digits}{mark}")
        return re.sub(f'"{mark}(.*?){mark}"', r"\1", json.dumps(parsed, indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return body.decode(errors="backslashreplace")


def diff(letter: DeadLetter, edit: DeadLetterEdit) -> str:
    """What an edit changed, line by line."""
    return changes(payload(letter), payload(edit), edit.edited_by)


def changes(before: str, after: str, by: str) -> str:
    """The lines that differ, with their neighbours; "" where none does."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "as it came", f"as sent by {by}", lineterm="")
    return "\n".join(lines)


def letter_as_json(letter: DeadLetter) -> dict[str, Any]:
    """What a list says of a letter."""
    return {
        "id": letter.pk,
        "state": letter.state,
        "consumer": letter.consumer,
        "eventId": letter.event_id and str(letter.event_id),
        "eventType": letter.event_type,
        "aggregateId": letter.aggregate_id,
        "correlationId": letter.correlation_id,
        "group": letter.group.fingerprint,
        "reason": letter.reason,
        "errorClass": letter.error_class,
        "errorMessage": letter.error_message,
        "firstFailedAt": letter.first_failed_at.isoformat(),
        "failedAt": letter.failed_at.isoformat(),
        "dropAt": letter.drop_at.isoformat(),
    }


def letter_in_full(letter: DeadLetter) -> dict[str, Any]:
    """All that is known of a letter, its payload included."""
    replays = letter.replays.select_related("replay", "edit").order_by("pk")
    return letter_as_json(letter) | {
        "place": letter.group.place,
        "traceback": letter.traceback,
        "attempts": letter.attempts,
        "arrivals": letter.arrivals,
        "codeVersion": letter.code_version,
        "headers": letter.headers,
        "settledAt": letter.settled_at and letter.settled_at.isoformat(),
        "settledBy": letter.settled_by,
        "discardReason": letter.discard_reason,
        "replays": [
            {
                "replay": str(item.replay_id),
                "by": item.replay.created_by,
                "sentAt": item.sent_at and item.sent_at.isoformat(),
                "outcome": item.outcome,
                "error": item.error,
                "diff": diff(letter, item.edit) if item.edit else None,
            }
            for item in replays
        ],
        "payload": payload(letter),
    }


def replay_as_json(replay: DeadLetterReplay) -> dict[str, Any]:
    """A replay and how far it is."""
    return {
        "id": str(replay.pk),
        "state": replay.state,
        "note": replay.note,
        "by": replay.created_by,
        "createdAt": replay.created_at.isoformat(),
        "selection": replay.selection,
        "total": replay.total,
        "rate": replay.rate,
        "threshold": replay.threshold,
        **outcomes(replay.pk),
    }


def _rows(statement: str, params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()
