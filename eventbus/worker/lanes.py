"""What waits in a worker and what runs: a lane per consumer's queue, and the runs that its deliveries go in.

Nothing here knows a pool or a connection. `celery_consumer` fills the lanes and starts the runs.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from eventbus.declaration import Consumer
from eventbus.waits.pace import Pace
from eventbus.worker import circuit_breaker
from eventbus.worker.circuit_breaker import PROBES, CircuitBreaker
from eventbus.worker.delivery import PASSED_ON, Delivery
from eventbus.worker.outside import Stopped
from eventbus.worker.processing import Failed

#: What of a delivery's headers travels on to the pool: ours and CloudEvents'; the rest is the broker's.
OWN_HEADERS = (
    "x-attempt",
    "x-attempts",
    "x-first-failed-at",
    "x-delivery-count",
    "x-replay-id",
    "x-letter-id",
    "x-single-try",
    "traceparent",
)

#: Seconds until a delivery of which nothing could be noted runs again: at first, and after so many of that.
KEEP, KEEP_LATER, LATER = 1.0, 10.0, 60.0

#: Seconds between the beginnings of two runs that are not full, at most.
LONGEST_PAUSE = 0.25

#: Redelivered messages of a queue that are remembered: more than any worker has in its hands.
MOST_REMEMBERED = 10_000


class Comings:
    """How often what is redelivered has come to this worker, over all its connections. The broker counts too, but
    RabbitMQ 4.3 leaves out what it took back because a run hung for longer than it waits."""

    def __init__(self) -> None:
        self._times: OrderedDict[str | bytes, int] = OrderedDict()

    def note(self, message: Any) -> None:
        """Raise the message's own count to ours."""
        key = self._key(message)
        times = self._times[key] = self._times.pop(key, 0) + 1
        if len(self._times) > MOST_REMEMBERED:
            self._times.popitem(last=False)
        counted = message.headers.get("x-delivery-count")
        message.headers["x-delivery-count"] = max(times, counted if isinstance(counted, int) else 0)

    def forget(self, messages: Iterable[Any]) -> None:
        """These are settled."""
        for message in messages:
            self._times.pop(self._key(message), None)

    def _key(self, message: Any) -> str | bytes:
        # py-amqp gives an empty body as text.
        return str(message.properties.get("message_id") or "") or bytes(message.body or b"")


@dataclass
class Lane:
    """What waits and what runs of one consumer's queue, over one broker connection."""

    consumer: Consumer
    slots: int
    waiting: deque[Any] = field(default_factory=deque)
    alone: deque[Any] = field(default_factory=deque)
    kept: list[Any] = field(default_factory=list)
    running: int = 0
    #: Whether its next run is put off.
    is_paused: bool = False
    comings: Comings = field(default_factory=Comings)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    pace: Pace = field(default_factory=lambda: Pace(LONGEST_PAUSE))
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        self.batch = self.consumer.batch

    def add(self, message: Any) -> None:
        """Let a delivery wait. A redelivered one may have killed its process: alone, it takes no innocent with it."""
        if message.delivery_info.get("redelivered"):
            self.comings.note(message)
            self.alone.append(message)
        else:
            self.waiting.append(message)

    def take(self) -> list[Any]:
        """The deliveries of the next run: suspects one by one, the others as many as may share a transaction."""
        if self.breaker.is_half_open:
            return [self._probe()]
        if self.alone:
            return [self.alone.popleft()]
        return [self.waiting.popleft() for _ in range(min(self._share(), self.batch))]

    def _share(self) -> int:
        """How much of what waits is one run's: all, but outside effects, which take their time, go side by side."""
        if not self.consumer.side_effects:
            return len(self.waiting)
        free = self.slots - self.running
        return -(-len(self.waiting) // free)

    def pause(self) -> float:
        """Seconds until the next run may begin, so that it takes more with it. Suspects and probes don't wait, nor does
        a full batch. Outside effects don't either: each takes its own time, whatever its company."""
        if self.consumer.side_effects or self.alone or self.breaker.is_half_open or len(self.waiting) >= self.batch:
            return 0.0
        return self.pace.left(self.batch)

    @property
    def has_only_failed(self) -> bool:
        """Whether each run of all that waits takes one of its last attempts, if anything waits at all."""
        waiting = [*self.alone, *self.waiting]
        return bool(waiting) and all(map(_is_retry, waiting))

    def _probe(self) -> Any:
        """The delivery that shows best whether it is an outage: one that has not failed, nor killed its process.

        What failed together stands together, so it is the newest of them, and next time the oldest.
        """
        waiting = [*self.alone, *self.waiting]
        least = min(map(_suspicion, waiting))
        unsuspected = [message for message in waiting if _suspicion(message) == least]
        probe = unsuspected[-1] if self.breaker.probes == PROBES else unsuspected[0]
        (self.alone if probe in self.alone else self.waiting).remove(probe)
        return probe

    def empty(self) -> list[Any]:
        """Take out everything that waits, so that it can go back to the broker."""
        waiting = [*self.alone, *self.waiting, *self.kept]
        self.alone.clear()
        self.waiting.clear()
        self.kept.clear()
        return waiting

    def keep(self, message: Any) -> float:
        """Keep a delivery of which nothing could be noted; returns after how many seconds to `bring_back` it."""
        since = message.delivery_info.setdefault("kept_since", monotonic())
        self.kept.append(message)
        return KEEP_LATER if monotonic() - since > LATER else KEEP

    def bring_back(self, message: Any) -> bool:
        """Let it run again. Returns False where it has been kept so long that it has to go back to the broker."""
        if message in self.kept:
            self.kept.remove(message)
            if monotonic() - message.delivery_info["kept_since"] > circuit_breaker.PUT_BACK_AFTER:
                # If that is refused, it runs first.
                message.delivery_info["kept_since"] = monotonic()
                return False
            self.alone.append(message)
        return True

    def take_back(self, messages: Sequence[Any], *, done: int) -> None:
        """What a run did not begin with goes first in the next, which is no larger than what this one has done."""
        self.waiting.extendleft(reversed(messages))
        if messages:
            self.batch = max(1, min(self.batch, done))

    def split(self, messages: Sequence[Any]) -> None:
        """A batch failed: its deliveries go one by one, and the next batch is smaller, in case it was too slow."""
        self.alone.extend(messages)
        self.batch = max(1, self.batch // 2)

    def grow(self) -> None:
        """A run went well: the next batch may be larger."""
        self.batch = min(self.consumer.batch, self.batch * 2)


class Run:
    """Some deliveries as one Celery message (protocol 2), with one acknowledgement for all of them.

    It offers what Celery's Request reads of a kombu.Message.
    """

    content_type = content_encoding = None
    body = None

    def __init__(self, consumer: Consumer, messages: list[Any], *, put_back: bool = False) -> None:
        self.messages = messages
        #: What became of it, where it failed as one, and where it stopped before its end.
        self.failure: Failed | None = None
        self.stopped: Stopped | None = None
        self._when_taken_up: Callable[[], Any] | None = None
        # Another program may have left the message id out; its messages differ by the delivery tag.
        event_ids = [str(m.properties.get("message_id") or f"delivery {m.delivery_tag}") for m in messages]
        task_id = str(uuid5(NAMESPACE_URL, f"{consumer.name} {' '.join(event_ids)}"))
        label = event_ids[0] if len(messages) == 1 else f"{len(messages)} events from {event_ids[0]}"
        self.headers: dict[str, Any] = {}
        self.properties: dict[str, Any] = {"correlation_id": messages[0].properties.get("correlation_id")}
        self.delivery_info = {
            "exchange": "",
            "routing_key": consumer.name,
            "redelivered": bool(messages[0].delivery_info.get("redelivered")),
        }
        self.payload: dict[str, Any] = {
            "lang": "py",
            "task": consumer.name,
            "id": task_id,
            "root_id": task_id,
            "args": ([as_delivery(message) for message in messages],),
            "kwargs": {"put_back": True} if put_back else {},
            "argsrepr": f"({label})",
            "kwargsrepr": "{'put_back': True}" if put_back else "{}",
            # The soft limit is an exception in the handler, the hard one kills the process shortly after.
            "timelimit": (consumer.killed_after, consumer.time_limit),
        }

    def lend(self, pipe: int | None, seconds: float, when_taken_up: Callable[[], Any]) -> None:
        """All but the first take their turns from this pipe, if there is one, and for so many seconds."""
        self.payload["kwargs"] = {"pipe": pipe}
        self.payload["timelimit"] = tuple(limit + seconds for limit in self.payload["timelimit"])
        self._when_taken_up = when_taken_up

    def is_taken_up(self) -> None:
        """A pool process has it."""
        if self._when_taken_up is not None:
            self._when_taken_up()


def failed_before(message: Any) -> bool:
    """Whether a run of it has failed: it is a retry, or nothing could be noted of the last run here."""
    return _is_retry(message) or "kept_since" in message.delivery_info


def _is_retry(message: Any) -> bool:
    """A retry says when its first attempt failed."""
    return "x-first-failed-at" in (message.headers or {})


def _suspicion(message: Any) -> int:
    return 2 * failed_before(message) + bool(message.delivery_info.get("redelivered"))


def as_delivery(message: Any) -> Delivery:
    """What the pool process needs of a broker message."""
    headers = {
        name: value
        for name, value in (message.headers or {}).items()
        if name in OWN_HEADERS or name.startswith("cloudEvents")
    }
    if not message.delivery_info.get("redelivered"):
        # RabbitMQ 4 leaves in it what the publisher wrote, until it delivers the message once more.
        headers.pop("x-delivery-count", None)
    return Delivery(
        body=bytes(message.body) if isinstance(message.body, memoryview) else message.body,
        headers=headers,
        properties={name: message.properties[name] for name in PASSED_ON if name in message.properties},
    )


def slots(consumer: Consumer, consumers: int, processes: int) -> int:
    """How many runs of this consumer go at once: each other consumer of the worker keeps a process free for itself."""
    return max(1, min(consumer.concurrency, processes - (consumers - 1)))


#: Of the upkeep: one for what takes long, such as pruning, and one for the rest.
UPKEEP_PROCESSES = 2


def may_share_sessions(consumers: Sequence[Consumer]) -> bool:
    """Whether their worker may go through a transaction pooler.

    Upkeep, which has no consumers, prunes, and one that reaches outside may hold a lock meanwhile: both need a session.
    """
    return bool(consumers) and not any(consumer.side_effects for consumer in consumers)


def pool_size(consumers: Sequence[Consumer], limit: int) -> int:
    """Pool processes for these consumers: one each, up to `limit` for one without batches or with outside effects,
    `limit` in all.

    Never more than they declare.
    """
    needed = sum(min(each.concurrency, limit) if each.batch == 1 or each.side_effects else 1 for each in consumers)
    return max(needed, min(sum(consumer.concurrency for consumer in consumers), limit))
