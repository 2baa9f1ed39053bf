"""The event bus: contracts, outbox, relay, inbox, retries and dead letters over PostgreSQL, RabbitMQ and Celery.

What an app needs is imported from here. What needs Django's models or the broker is in seven public modules beside it:
`eventbus.archive`, `eventbus.admin`, `eventbus.documents`, `eventbus.traces`, `eventbus.pipeline`,
`eventbus.processes` and `eventbus.testing`. All else is private to the bus.
"""

from eventbus.contracts.casting import downcast, upcast
from eventbus.contracts.event import Contract, Event
from eventbus.contracts.exact_json import decode_json, encode_json
from eventbus.contracts.fields import Day, Line, Moment, Named, OnlyNumbers, Whole
from eventbus.db.clock import database_time
from eventbus.declaration import Consumer, Retry, consumer
from eventbus.errors import EventbusError, InvalidEvent, PermanentFailure, RetryAfter, StreamConflict, UnsafeJSON
from eventbus.failpoints import failpoint
from eventbus.ids import new_id
from eventbus.metrics.declaration import counter, gauge, histogram
from eventbus.monitoring.invariants import invariant
from eventbus.monitoring.rules import Observation, alarm_rule
from eventbus.recording.context import acting_as, correlated_with, current_cause
from eventbus.recording.publish import publish, publish_with, single_statement
from eventbus.recording.streams import expect_version, lock_streams
from eventbus.relay.admission import admission
from eventbus.restores.hooks import after_restore, evidence, take_back
from eventbus.schemas.folder import published_schema

__all__ = [
    "Consumer",
    "Contract",
    "Day",
    "Event",
    "EventbusError",
    "InvalidEvent",
    "Line",
    "Moment",
    "Named",
    "Observation",
    "OnlyNumbers",
    "PermanentFailure",
    "Retry",
    "RetryAfter",
    "StreamConflict",
    "UnsafeJSON",
    "Whole",
    "acting_as",
    "admission",
    "after_restore",
    "alarm_rule",
    "consumer",
    "correlated_with",
    "counter",
    "current_cause",
    "database_time",
    "decode_json",
    "downcast",
    "encode_json",
    "evidence",
    "expect_version",
    "failpoint",
    "gauge",
    "histogram",
    "invariant",
    "lock_streams",
    "new_id",
    "publish",
    "publish_with",
    "published_schema",
    "single_statement",
    "take_back",
    "upcast",
]
