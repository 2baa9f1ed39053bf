"""Runs of outside effects: one after the other and each for itself, and none waits for long behind another."""

from collections.abc import Sequence
from time import monotonic

from eventbus.declaration import Consumer
from eventbus.errors import EventbusError
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import Failed, run_one
from eventbus.worker.turns import turns

#: The share of its time limit within which a run of outside effects begins with another event. The run has so much more
#: time, so that each event has the whole of it.
BEGINS_WITHIN = 0.05


class Stopped(EventbusError):
    """A run of outside effects went no further: so many of its deliveries are done, and may be acknowledged.

    `failure` is what became of the next one; None: it was not begun. What comes after it was not.
    """

    def __init__(self, done: int, failure: Failed | None) -> None:
        super().__init__(done, failure)
        self.done, self.failure = done, failure

    def __str__(self) -> str:
        return f"{self.done} done, then: {self.failure or 'the rest has to wait for the next run'}"


def begins_within(consumer: Consumer) -> float:
    """Seconds after which a run of outside effects begins with no other event, and what is left goes to others."""
    return consumer.time_limit * BEGINS_WITHIN


def run_outside(consumer: Consumer, deliveries: Sequence[Delivery], pipe: int | None) -> int:
    """Handle deliveries whose effects are outside, one after the other and each for itself; returns how many were new.

    Raises Stopped at the first that fails, when the next one would have too little time, or when its turn was taken
    back from the `pipe`.
    """
    begins_until = monotonic() + begins_within(consumer)
    new = 0
    for done, delivery in enumerate(deliveries):
        if done and (monotonic() > begins_until or (pipe is not None and not turns.take(pipe))):
            raise Stopped(done, None)
        try:
            new += run_one(consumer, delivery)
        except Failed as failure:
            raise Stopped(done, failure) from failure
    return new
