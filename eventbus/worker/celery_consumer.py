"""A Celery worker that consumes plain events.

A delivery on queue Q becomes a task of the consumer that is called Q, under its own task id, so that the pool, late
acks, time limits, Flower and signals work as for any Celery task. What is waiting on a queue while its slots are busy
goes through as one run (group commit); with nothing waiting an event goes alone and at once.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import structlog
from celery import bootsteps
from celery.exceptions import Reject, Retry
from celery.worker.consumer import Consumer as StockConsumer
from celery.worker.request import Request as StockRequest

from eventbus.broker.connection import RECONNECT_EVERY, bound
from eventbus.conf import bus_settings
from eventbus.declaration import CONSUMERS
from eventbus.heartbeats import beating
from eventbus.metrics.catalogue import POSTPONED, RUN
from eventbus.worker import announcements, goodbye
from eventbus.worker.circuit_breaker import CircuitBreaker
from eventbus.worker.frozen_children import FrozenChildren
from eventbus.worker.lanes import Comings, Lane, Run, failed_before, slots
from eventbus.worker.processing import Failed, Postponed, Settled, Unsettled

log = structlog.get_logger(__name__)

#: Seconds between two looks for a queue that is missing. Whoever declares it is `eventbus.subscriptions.lost_queues`.
LOOK_FOR_LOST = 2.0


class BusRequest(StockRequest):
    """A request whose failure is acknowledged if it is settled, and otherwise comes again."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = exc_info.exception
        if isinstance(error, Retry | Reject):
            error = error.exc if isinstance(error, Retry) else error.reason
        if isinstance(error, Failed):
            self._message.failure = error
        if isinstance(error, Settled):
            self.acknowledge()
        if isinstance(error, Postponed):
            POSTPONED.add(1, self.name)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


class BusConsumer(StockConsumer):
    """Celery's consumer with lanes in front of its pool."""

    # A command of Celery's asks for it.
    gossip = None

    class Blueprint(StockConsumer.Blueprint):
        default_steps = announcements.STEPS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.announcer = announcements.Announcer(bus_settings.BROKER_URL)
        super().__init__(*args, **kwargs)
        self.timer.call_repeatedly(1.0, FrozenChildren(self.pool).look)
        # In the loop that takes deliveries and hands them to the pool.
        self.timer.call_repeatedly(1.0, beating.turned, ("worker",))

    def ensure_connected(self, conn: Any) -> Any:
        """As Celery does it, but it is alive while it waits for the broker, and then waits for no answer for ever."""
        ensure = conn.ensure_connection

        def ensure_and_beat(errback: Any, retries: Any, callback: Any = None, **options: Any) -> Any:
            def wait() -> None:
                beating.turned("worker")
                if callback is not None:
                    callback()

            return ensure(errback, retries, callback=wait, interval_max=RECONNECT_EVERY, **options)

        conn.ensure_connection = ensure_and_beat
        return bound(super().ensure_connected(conn))

    def stop(self) -> None:
        with goodbye.of(self.connection):
            super().stop()

    def shutdown(self) -> None:
        with goodbye.of(self.connection):
            super().shutdown()

    def create_task_handler(self, promise: Any = None) -> Callable[[Any], Any]:
        """Called for every new connection: what waited in the lanes of the old one is delivered again."""
        stock = super().create_task_handler()
        self.breakers: dict[str, CircuitBreaker] = getattr(self, "breakers", {})
        self.comings: dict[str, Comings] = getattr(self, "comings", {})
        self.lanes = self._open_lanes()
        # Among the timers of this connection: Celery cancels them with it.
        self.timer.call_repeatedly(LOOK_FOR_LOST, self._look_for_lost_queues)

        def on_delivery(message: Any) -> Any:
            lane = self.lanes.get(message.delivery_info.get("queue"))
            if lane is None:
                why = what_is_forged(message, self.app.tasks)
                return self._refuse(message, why) if why else stock(message)
            lane.add(message)
            self._dispatch(lane)
            return None

        return on_delivery

    def _look_for_lost_queues(self) -> None:
        for queue in self.task_consumer.queues:
            if queue.is_lost:
                queue.look_again()

    def _open_lanes(self) -> dict[str, Lane]:
        consumers = [CONSUMERS[name] for name in self.app.amqp.queues.consume_from if name in CONSUMERS]
        return {
            consumer.name: Lane(
                consumer,
                slots(consumer, len(consumers), self.pool.num_processes),
                # A lost connection says nothing of what the handlers need.
                breaker=self.breakers.setdefault(consumer.name, CircuitBreaker()),
                comings=self.comings.setdefault(consumer.name, Comings()),
            )
            for consumer in consumers
        }

    def _dispatch(self, lane: Lane) -> None:
        while (lane.alone or lane.waiting) and lane.running < lane.slots and self._may_dispatch(lane):
            self._start(lane, lane.take())

    def _may_dispatch(self, lane: Lane) -> bool:
        # During shutdown the rest stays unacknowledged: another worker gets it.
        return self._is_current(lane) and lane.breaker.lets_pass(lane.running)

    def _is_current(self, lane: Lane) -> bool:
        return self.blueprint.state == bootsteps.RUN and self.lanes.get(lane.consumer.name) is lane

    def _judge(self, lane: Lane, run: Run) -> None:
        """Let the breaker know how a run ended. A fault of the event says nothing of what its handler needs."""
        if run.failure is None:
            if lane.breaker.is_half_open:
                log.info("breaker.closed", consumer=lane.consumer.name)
            lane.breaker.record(good=len(run.messages))
            return
        known = failed_before(run.messages[0])
        if run.failure.may_be_outage and lane.breaker.record(bad=1, failed_before=known):
            pause = lane.breaker.pause
            log.error("breaker.opened", consumer=lane.consumer.name, error=str(run.failure), probe_in_seconds=pause)
            self._pause(lane)

    def _pause(self, lane: Lane) -> None:
        self.timer.call_after(lane.breaker.pause, self._end_pause, (lane.consumer.name,))

    def _end_pause(self, name: str) -> None:
        lane = self.lanes[name]
        lane.breaker.end_pause(only_failed=lane.has_only_failed)
        if lane.breaker.is_open_for_long and (waiting := lane.empty()):
            lane.breaker.held = 0.0
            self._start(lane, waiting, put_back=True)
        if lane.breaker.is_half_open:
            self._dispatch(lane)
        else:
            self._pause(lane)

    def _start(self, lane: Lane, messages: list[Any], *, put_back: bool = False) -> None:
        began = monotonic()

        def done() -> None:
            RUN.observe(monotonic() - began, lane.consumer.name)
            lane.running -= 1
            self._dispatch(lane)

        def ack(logger: Any, errors: Any) -> None:
            for message in messages:
                message.ack_log_error(logger, errors)
            lane.comings.forget(messages)
            lane.grow()
            self._judge(lane, run)
            done()

        def reject(logger: Any, errors: Any, requeue: bool = False) -> None:
            if len(messages) > 1:
                lane.split(messages)
            elif isinstance(run.failure, Unsettled):
                self._judge(lane, run)
                # Not to the broker: it would come back at once, and each time counts against it there.
                self.timer.call_after(lane.keep(messages[0]), self._bring_back, (lane, messages[0]))
            else:
                # Never dropped by us: the broker counts the deliveries and dead-letters at its limit.
                messages[0].reject_log_error(logger, errors, requeue=True)
            done()

        lane.running += 1
        run = Run(lane.consumer, messages, put_back=put_back)
        strategy = self.strategies[lane.consumer.name]
        strategy(run, None, ack, reject, self.on_task_message)

    def _bring_back(self, lane: Lane, message: Any) -> None:
        # A lane of a connection that is lost, or of a worker that ends: the broker delivers it again.
        if not self._is_current(lane):
            return
        if lane.bring_back(message):
            self._dispatch(lane)
        else:
            self._start(lane, [message], put_back=True)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._refuse(message, "unknown message")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._refuse(message, f"unknown task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._refuse(message, f"invalid task: {exc}")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._refuse(message, f"not decodable: {exc}")

    def _refuse(self, message: Any, why: str) -> None:
        """Celery's own handlers acknowledge what they don't understand, and it is gone without a trace. The broker
        makes a dead letter of it."""
        log.error("message.refused", reason=why, queue=message.delivery_info.get("queue"))
        message.reject_log_error(log, self.connection_errors)


def what_is_forged(message: Any, tasks: Mapping[str, Any]) -> str | None:
    """What beat would not send, in the headers of a task: it would run as a consumer, or keep the upkeep waiting."""
    headers = message.headers or {}
    if headers.get("task") in CONSUMERS:
        return "a consumer's task: events are published, not called"
    task = tasks.get(str(headers.get("task")))
    declared = [task.time_limit, task.soft_time_limit] if task is not None else None
    if headers.get("eta") or headers.get("timelimit") not in (None, [None, None], declared):
        return "a task with a time of its own"
    return None
