"""A circuit breaker per consumer: when nearly everything fails, consumption pauses and a probe now and then finds out
whether it works again. An outage of what a handler needs then costs a few events an attempt, and not the whole queue.

The pattern is Nygard's (Release It!, Pragmatic Bookshelf 2007, chapter 5).
"""

from collections import deque
from dataclasses import dataclass, field

#: How many of the last outcomes the breaker judges by, and the share of failures at which it opens.
WINDOW = 20
THRESHOLD = 0.9
#: Seconds until the first probe, and at most between two.
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
#: After this many probes that failed, some 7 minutes, and after as many again, the worker puts back what waits in it.
#: RabbitMQ would take it back after 30 (`consumer_timeout`), and count that against the events.
PROBES_PER_PAUSE = 10


@dataclass
class CircuitBreaker:
    """Closed: all passes. Open: nothing does. Half open: one probe at a time does, and its outcome decides."""

    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    is_open: bool = False
    is_half_open: bool = False
    pause: float = FIRST_PAUSE
    failed_probes: int = 0

    @property
    def is_open_for_long(self) -> bool:
        """Whether, after the probe that failed just now, what waits in the worker has waited there long enough."""
        return self.failed_probes > 0 and self.failed_probes % PROBES_PER_PAUSE == 0

    def lets_pass(self, running: int) -> bool:
        """Whether another run may start while this many are under way."""
        if self.is_half_open:
            return running == 0
        return not self.is_open

    def record(self, *, good: int = 0, bad: int = 0) -> bool:
        """Note outcomes; returns whether the breaker opened just now. It stays open for `pause` seconds then."""
        if self.is_half_open and bad:
            self.is_half_open = False
            self.pause = min(LONGEST_PAUSE, self.pause * 2)
            self.failed_probes += 1
            return True
        if self.is_half_open and good:
            self._close()
        if self.is_open:
            return False  # the outcome of a run that began before
        self.outcomes.extend([True] * min(good, WINDOW) + [False] * min(bad, WINDOW))
        failures = self.outcomes.count(False)
        self.is_open = len(self.outcomes) == WINDOW and failures >= THRESHOLD * WINDOW
        return self.is_open

    def half_open(self) -> None:
        """Let one probe through. Called when the pause is over."""
        self.is_half_open = True

    def _close(self) -> None:
        self.is_open = self.is_half_open = False
        self.pause = FIRST_PAUSE
        self.failed_probes = 0
        self.outcomes.clear()
