"""A circuit breaker per consumer: when nearly everything fails, consumption pauses and a probe now and then finds out
whether it works again. An outage of what a handler needs then costs a few events an attempt, and not the whole queue.

Many events that can't be handled look like an outage. So the probes are others than those that failed, and they come
soon: good events wait for seconds, whatever they stand behind.

The pattern is Nygard's (Release It!, Pragmatic Bookshelf 2007, chapter 5).
"""

from collections import deque
from dataclasses import dataclass, field

#: How many of the last outcomes the breaker judges by, and the share of failures at which it opens.
WINDOW = 20
THRESHOLD = 0.9
#: Seconds until the first probe, and at most between two while there are events that have not failed yet.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 5.0
#: Seconds at most between two probes with events that failed before: each takes one of their last attempts.
LONGEST_PATIENCE = 60.0
#: How many events that have not failed yet are tried after a pause.
PROBES = 2
#: After so many seconds, and after as many again, the worker puts back what waits in it. RabbitMQ would take it back
#: after 30 minutes (`consumer_timeout`), and count that against the events.
PUT_BACK_AFTER = 420.0


@dataclass
class CircuitBreaker:
    """Closed: all passes. Open: nothing does. Half open: one probe at a time does, and their outcomes decide."""

    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    is_open: bool = False
    #: How many probes may fail before it is open again.
    probes: int = 0
    #: Seconds between two probes with events that failed before, how many have passed, and how many since it opened, or
    #: since what waited was put back.
    patience: float = FIRST_PAUSE
    waited: float = 0.0
    held: float = 0.0

    @property
    def is_half_open(self) -> bool:
        return self.probes > 0

    @property
    def pause(self) -> float:
        """Seconds until the next probe, if there is an event that has not failed yet."""
        return min(self.patience, LONGEST_PAUSE)

    @property
    def is_open_for_long(self) -> bool:
        """Whether what waits in the worker has waited there long enough."""
        return self.held >= PUT_BACK_AFTER

    def lets_pass(self, running: int) -> bool:
        """Whether another run may start while this many are under way."""
        if self.is_half_open:
            return running == 0
        return not self.is_open

    def record(self, *, good: int = 0, bad: int = 0, failed_before: bool = False) -> bool:
        """Note outcomes; returns whether the breaker opened just now. It stays open for `pause` seconds then.

        An event that `failed_before` and does so again says nothing of an outage where another has succeeded.
        """
        if self.is_half_open and bad:
            self.probes -= 1
            if self.is_half_open:
                return False
            self.patience = min(LONGEST_PATIENCE, self.patience * 2)
            return True
        if self.is_half_open and good:
            self._close()
        if self.is_open or (failed_before and bad and True in self.outcomes):
            return False  # the outcome of a run that began before, or nothing new
        self.outcomes.extend([True] * min(good, WINDOW) + [False] * min(bad, WINDOW))
        failures = self.outcomes.count(False)
        self.is_open = len(self.outcomes) == WINDOW and failures >= THRESHOLD * WINDOW
        return self.is_open

    def end_pause(self, *, only_failed: bool) -> None:
        """A pause is over: let probes through, unless only events wait that failed before and it is too soon for them.

        Then another pause begins.
        """
        self.waited += self.pause
        self.held += self.pause
        if not only_failed:
            self.probes = PROBES
        elif self.waited >= self.patience:
            self.probes = 1
        if self.is_half_open:
            self.waited = 0.0

    def _close(self) -> None:
        self.outcomes.clear()
        self.is_open = False
        self.probes = 0
        self.patience = FIRST_PAUSE
        self.waited = self.held = 0.0
