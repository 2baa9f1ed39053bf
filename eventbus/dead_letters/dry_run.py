"""Running a handler on a letter to see what it would do: everything is rolled back."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import connection, transaction

from eventbus.db.crypto import UnreadablePayload, decrypt
from eventbus.dead_letters.models import DeadLetter
from eventbus.declaration import CONSUMERS
from eventbus.errors import EventbusError
from eventbus.recording.publish import RECORD
from eventbus.worker import inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import describe
from eventbus.worker.processing import read
from eventbus.worker.telling import told

WRITES = re.compile(r'\b(INSERT INTO|UPDATE|DELETE FROM)\s+(?!SET\b)(?:ONLY\s+)?"?([a-z_]+)"?', re.IGNORECASE)
#: The bus's own bookkeeping: it says nothing of what the handler did.
OWN_TABLES = frozenset({"processed_event", "stream", "event", "outbox", "dead_letter", "replay_item"})


class DryRunRefused(EventbusError):
    """The handler can't be run without effect; the message says why."""


@dataclass
class DryRun:
    """What a handler would have done. `verdict` is `works`, `fails` or `already handled`."""

    letter: int
    verdict: str = "works"
    error: str = ""
    traceback: str = ""
    published: list[dict[str, Any]] = field(default_factory=list)
    writes: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def dry_run(letter: DeadLetter) -> DryRun:
    """Run the letter's consumer on it in a transaction that is rolled back. Raises DryRunRefused."""
    consumer = CONSUMERS.get(letter.consumer)
    if consumer is None:
        raise DryRunRefused(f"No consumer is called {letter.consumer} any more.")
    if consumer.side_effects:
        raise DryRunRefused(
            f"{consumer.name} reaches outside the database, and that can't be rolled back. Replay one letter."
        )
    try:
        body = decrypt(letter.body)
    except UnreadablePayload as error:
        raise DryRunRefused(str(error)) from error
    trial = DryRun(letter.pk)
    recorder = _Recorder(trial)
    try:
        event = read(consumer, Delivery(body))
        with transaction.atomic():
            _limit(consumer.time_limit)
            with connection.execute_wrapper(recorder):
                new = inbox.process(consumer, [inbox.Arrival(event)])
            transaction.set_rollback(True)
    except Exception as error:  # noqa: BLE001  how it fails is the answer
        trial.verdict = "fails"
        trial.error = told(f"{type(error).__name__}: {error}", body)
        trial.traceback = told(describe(error), body)
    else:
        trial.verdict = "works" if new else "already handled"
    trial.writes = dict(recorder.writes)
    return trial


def _limit(seconds: int) -> None:
    """What the handler locks, live traffic waits for: not long."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {seconds * 1000}")
        cursor.execute("SET LOCAL lock_timeout = 2000")


class _Recorder:
    """Sees each statement that a handler sends."""

    def __init__(self, trial: DryRun) -> None:
        self.trial = trial
        self.writes: Counter[str] = Counter()

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if RECORD in sql:
            self.trial.published += [_as_event(row) for row in json.loads(params[-1])]
        for verb, table in WRITES.findall(sql):
            if table not in OWN_TABLES:
                self.writes[f"{verb.split()[0].lower()} {table}"] += max(context["cursor"].rowcount, 0)
        return result


def _as_event(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("type", "version", "aggregate_id", "data")}
