"""How soon after one run the next may begin: at once while there is little to do, and later the more there is."""

from math import exp, inf
from time import monotonic

#: How many times longer than a run the pause is where the runs alone would take all the time there is.
PATIENCE = 4
#: Seconds over which arrivals are counted.
MEMORY = 1.0
#: How much of what a run cost is taken over from the latest.
WEIGHT = 0.25
#: Seconds for each of a run's events, above which it is the events that take long: company saves them nothing.
SLOW = 0.05


class Pace:
    """When the next run of some work may begin.

    A run costs much by itself and little for each event in it. So where events come so fast that a run for each would
    take all the time there is, the next one waits, and takes with it what comes meanwhile (group commit). From one
    begin to the next it is `patience` runs long, times the share of the time that a run for each event would take: a
    machine that has too much to do makes runs longer, and so the pauses too; where there is little to do, the next
    event comes when its pause is over already.
    """

    def __init__(self, longest: float, patience: float = PATIENCE) -> None:
        """`longest`: seconds that lie between two begins at most."""
        self.longest, self.patience = longest, patience
        self._began = -inf
        self._last = self._cost = self._each = self._recent = 0.0
        self._counted_at = monotonic()

    def begin(self) -> float:
        """A run begins; returns when, for `end`."""
        self._began = monotonic()
        return self._began

    def end(self, began: float, events: int) -> None:
        """It is over, and so many events were in it."""
        now = monotonic()
        # One that is longer than its neighbours says nothing: the first one opens connections.
        latest, self._last = min(now - began, self._last), now - began
        self._cost += WEIGHT * (latest - self._cost)
        self._each += WEIGHT * (latest / max(1, events) - self._each)
        self._recent = self._recent * exp((self._counted_at - now) / MEMORY) + events
        self._counted_at = now

    def left(self, most: int) -> float:
        """Seconds until the next one may begin; 0: it may. It takes `most` events at most, and does not wait for
        longer than they need to come."""
        if self._each > SLOW:
            return 0.0
        rate = self._recent / MEMORY
        pause = min(self.longest, self.patience * rate * self._cost * self._cost, most / rate if rate else 0.0)
        return max(0.0, self._began + pause - monotonic())
