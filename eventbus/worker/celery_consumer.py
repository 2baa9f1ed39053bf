"""A Celery worker that consumes plain events.

A delivery on queue Q becomes a task of the consumer that is called Q, under its own task id, so that the pool, late
acks, time limits, Flower and signals work as for any Celery task. What is waiting on a queue while its slots are busy
goes through as one run (group commit); with nothing waiting an event goes alone and at once.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import kombu
import structlog
from celery import bootsteps
from celery.worker.consumer import Consumer as StockConsumer
from celery.worker.request import Request as StockRequest
from kombu.transport import pyamqp

from eventbus.consumer import CONSUMERS, Consumer
from eventbus.worker.circuit_breaker import CircuitBreaker
from eventbus.worker.delivery import PASSED_ON, Delivery
from eventbus.worker.processing import Settled

log = structlog.get_logger(__name__)

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


class PlainMessage(pyamqp.Message):
    """A message as it came. kombu would unpack it by a header that any publisher may set, in the worker's main process:
    the bus never packs, and a few bytes can unpack to all the memory there is."""

    def __init__(self, msg: Any, channel: Any = None, **kwargs: Any) -> None:
        (msg.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(msg, channel=channel, **kwargs)


class BusQueue(kombu.Queue):
    """A queue whose deliveries say where they come from (AMQP's don't), with a prefetch of its own."""

    # kombu copies a queue, by these, when it binds it to a channel.
    attrs = (*kombu.Queue.attrs, ("prefetch", int))
    prefetch = 1

    def consume(self, consumer_tag: str = "", callback: Any = None, **kwargs: Any) -> Any:
        name = self.name

        def stamped(message: Any) -> Any:
            message.delivery_info["queue"] = name
            return callback(message)

        self.channel.Message = PlainMessage
        # RabbitMQ applies a channel's prefetch to the consumers that start after it.
        self.channel.basic_qos(0, self.prefetch, False)
        return super().consume(consumer_tag, stamped, **kwargs)


@dataclass
class Lane:
    """What waits and what runs of one consumer's queue, over one broker connection."""

    consumer: Consumer
    slots: int
    waiting: deque[Any] = field(default_factory=deque)
    alone: deque[Any] = field(default_factory=deque)
    running: int = 0
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        self.batch = self.consumer.batch

    def take(self) -> list[Any]:
        """The deliveries of the next run: suspects one by one, the others as many as may share a transaction."""
        if self.alone:
            return [self.alone.popleft()]
        if self.breaker.is_half_open:
            return [self.waiting.popleft()]
        return [self.waiting.popleft() for _ in range(min(len(self.waiting), self.batch))]

    def let_go(self) -> list[Any]:
        """Everything that waits, so that it can go back to the broker."""
        held = [*self.alone, *self.waiting]
        self.alone.clear()
        self.waiting.clear()
        return held

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

    def __init__(self, consumer: Consumer, messages: Sequence[Any], *, put_back: bool) -> None:
        self.messages = messages
        self.failure: Settled | None = None
        # Another program may have left the message id out; the delivery tag tells its messages apart.
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
        self.payload = {
            "lang": "py",
            "task": consumer.name,
            "id": task_id,
            "root_id": task_id,
            "args": ([as_delivery(message) for message in messages],),
            "kwargs": {"put_back": True} if put_back else {},
            "argsrepr": f"({label})",
            "kwargsrepr": "{'put_back': True}" if put_back else "{}",
            # The soft limit is an exception in the handler, the hard one kills the process shortly after.
            "timelimit": (consumer.time_limit + 5, consumer.time_limit),
        }


def as_delivery(message: Any) -> Delivery:
    """What the pool process needs of a broker message."""
    return Delivery(
        body=bytes(message.body) if isinstance(message.body, memoryview) else message.body,
        headers={
            name: value
            for name, value in (message.headers or {}).items()
            if name in OWN_HEADERS or name.startswith("cloudEvents")
        },
        properties={name: message.properties[name] for name in PASSED_ON if name in message.properties},
    )


class BusRequest(StockRequest):
    """A request that tells a settled failure, which is acknowledged, from one that must come again."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = exc_info.exception
        error = getattr(error, "exc", error)
        if isinstance(error, Settled):
            self._message.failure = error
            self.acknowledge()
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


class BusConsumer(StockConsumer):
    """Celery's consumer with lanes in front of its pool."""

    class Blueprint(StockConsumer.Blueprint):
        # DelayedDelivery would bind `#.`-patterns to our exchange for every quorum queue, and the bindings persist.
        default_steps = [step for step in StockConsumer.Blueprint.default_steps if "DelayedDelivery" not in step]

    def create_task_handler(self, promise: Any = None) -> Callable[[Any], Any]:
        """Called for every new connection: what the lanes of the old one held is delivered again."""
        stock = super().create_task_handler()
        self.breakers: dict[str, CircuitBreaker] = getattr(self, "breakers", {})
        self.lanes = self._open_lanes()

        def on_delivery(message: Any) -> Any:
            lane = self.lanes.get(message.delivery_info.get("queue"))
            if lane is None:
                return stock(message)
            # A redelivered one may be what killed its process: alone, it takes no innocent with it.
            (lane.alone if message.delivery_info.get("redelivered") else lane.waiting).append(message)
            self._dispatch(lane)
            return None

        return on_delivery

    def _open_lanes(self) -> dict[str, Lane]:
        consumers = [CONSUMERS[name] for name in self.app.amqp.queues.consume_from if name in CONSUMERS]
        return {
            consumer.name: Lane(
                consumer,
                slots(consumer, len(consumers), self.pool.num_processes),
                # A lost connection says nothing of what the handlers need.
                breaker=self.breakers.setdefault(consumer.name, CircuitBreaker()),
            )
            for consumer in consumers
        }

    def _dispatch(self, lane: Lane) -> None:
        while (lane.alone or lane.waiting) and lane.running < lane.slots and self._may_dispatch(lane):
            self._start(lane, lane.take())

    def _may_dispatch(self, lane: Lane) -> bool:
        # During shutdown the rest stays unacknowledged: another worker gets it.
        is_current = self.blueprint.state == bootsteps.RUN and self.lanes.get(lane.consumer.name) is lane
        return is_current and lane.breaker.lets_pass(lane.running)

    def _judge(self, lane: Lane, run: Run) -> None:
        """Tell the breaker how a run ended. What lies at the event itself says nothing of what its handler needs."""
        if run.failure is None:
            if lane.breaker.is_half_open:
                log.info("breaker.closed", consumer=lane.consumer.name)
            lane.breaker.record(good=len(run.messages))
        elif run.failure.may_be_outage and lane.breaker.record(bad=1):
            pause = lane.breaker.pause
            log.error("breaker.opened", consumer=lane.consumer.name, error=str(run.failure), probe_in_seconds=pause)
            self.timer.call_after(pause, self._probe, (lane.consumer.name,))
            if lane.breaker.holds_for_long and (held := lane.let_go()):
                self._start(lane, held, put_back=True)

    def _probe(self, name: str) -> None:
        lane = self.lanes[name]
        lane.breaker.half_open()
        self._dispatch(lane)

    def _start(self, lane: Lane, messages: list[Any], *, put_back: bool = False) -> None:
        def done() -> None:
            lane.running -= 1
            self._dispatch(lane)

        def ack(logger: Any, errors: Any) -> None:
            for message in messages:
                message.ack_log_error(logger, errors)
            lane.grow()
            self._judge(lane, run)
            done()

        def reject(logger: Any, errors: Any, requeue: bool = False) -> None:
            if len(messages) > 1:
                lane.split(messages)
            else:
                # Never dropped by us: the broker counts the deliveries and dead-letters at its limit.
                messages[0].reject_log_error(logger, errors, requeue=True)
            done()

        lane.running += 1
        run = Run(lane.consumer, messages, put_back=put_back)
        strategy = self.strategies[lane.consumer.name]
        strategy(run, None, ack, reject, self.on_task_message)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._refuse(message, "unknown message")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._refuse(message, f"unknown task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._refuse(message, f"invalid task: {exc}")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._refuse(message, f"not decodable: {exc}")

    def _refuse(self, message: Any, why: str) -> None:
        """Celery's own handlers acknowledge what they don't understand, and it is gone without a trace."""
        log.error("message.refused", reason=why, queue=message.delivery_info.get("routing_key"))
        message.reject_log_error(log, self.connection_errors)


def slots(consumer: Consumer, consumers: int, processes: int) -> int:
    """How many runs of this consumer go at once: each other consumer of the worker keeps a process free for itself."""
    return max(1, min(consumer.concurrency, processes - (consumers - 1)))


def pool_size(consumers: Sequence[Consumer], limit: int) -> int:
    """Pool processes for these consumers: one each, up to `limit` for one that works without batches, `limit` in all.

    Never more than they declare.
    """
    needed = sum(min(consumer.concurrency, limit) if consumer.batch == 1 else 1 for consumer in consumers)
    return max(needed, min(sum(consumer.concurrency for consumer in consumers), limit))


def broker_queue(consumer: Consumer, consumers: int, processes: int) -> BusQueue:
    """The consumer's queue as the worker consumes it, with room for a full batch in every slot and one waiting."""
    runs = slots(consumer, consumers, processes)
    return BusQueue(
        consumer.name,
        exchange=kombu.Exchange(""),
        routing_key=consumer.name,
        no_declare=True,
        queue_arguments={"x-queue-type": "quorum"},
        prefetch=(runs + 1) * consumer.batch,
    )
