"""Which action or event the running code serves: what is published meanwhile is correlated with it and caused by it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from eventbus.contracts.event import Envelope
from eventbus.ids import new_id


@dataclass(frozen=True, slots=True)
class Cause:
    """Where an event comes from: the user action's id, the event that directly led to it, and who acted."""

    correlation_id: str
    causation_id: UUID | None = None
    user_id: str | None = None


_cause: ContextVar[Cause | None] = ContextVar("cause", default=None)


def current_cause() -> Cause:
    """The cause that code runs under now; a fresh one, with a correlation id of its own, where nothing set one."""
    return _cause.get() or Cause(correlation_id=str(new_id()))


def cause_of(envelope: Envelope) -> Cause:
    """The cause of whatever follows from this event."""
    return Cause(envelope.metadata.correlation_id, envelope.event_id, envelope.metadata.user_id)


@contextmanager
def caused_by(cause: Cause, **ids: str) -> Iterator[None]:
    """Run a block under this cause. Every log line in it carries the cause's ids and those given."""
    log_ids = {"correlation_id": cause.correlation_id, **ids}
    if cause.causation_id is not None:
        log_ids.setdefault("event_id", str(cause.causation_id))
    # Not at the top: it loads rich and asyncio, and would take a quarter of the time that `import eventbus` takes.
    from structlog.contextvars import bound_contextvars

    token = _cause.set(cause)
    try:
        with bound_contextvars(**log_ids):
            yield
    finally:
        _cause.reset(token)


def correlated_with(correlation_id: str, **ids: str) -> AbstractContextManager[None]:
    """Run a block as a part of that story: events published in it carry the id, and log lines also the ids given."""
    return caused_by(Cause(correlation_id), **ids)


def acting_as(user_id: object) -> AbstractContextManager[None]:
    """Run a block in a user's name, under the correlation id that is set: events published in it carry both."""
    return caused_by(Cause(current_cause().correlation_id, user_id=str(user_id)))


@contextmanager
def handling(envelope: Envelope, consumer: str) -> Iterator[None]:
    """Run a handler: what it publishes is caused by this event, and its log lines say which event it serves."""
    ids = {
        "consumer": consumer,
        "event_type": envelope.event_type,
        f"{envelope.aggregate_type}_id": envelope.aggregate_id,
    }
    if envelope.metadata.causation_id is not None:
        ids["causation_id"] = str(envelope.metadata.causation_id)
    with caused_by(cause_of(envelope), **ids):
        yield
