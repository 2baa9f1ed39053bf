"""A process of an app's own, beside those of the bus: it is watched as they are, and ends as they do."""

from collections.abc import Callable

from eventbus.db.pooler import refuse_pooler
from eventbus.db.sessions import name_sessions
from eventbus.heartbeats import beating
from eventbus.management.ending import end_when_told

__all__ = ["run_process", "turned"]

turned = beating.turned


def run_process(kind: str, run: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run it until SIGTERM or Ctrl-C have called `stop`. Its kind is one of EVENTBUS_OWN_PROCESSES, and what the
    Procfile calls it.

    `run` calls `turned(kind)` each time that its work goes round: without it the process counts as stuck, and ends
    itself after minutes. It has seconds to return after `stop`; what it had in hand by then has to come again.
    """
    refuse_pooler()
    name_sessions(kind.replace("_", " "))
    end_when_told(stop)
    beating.begin(kind, kind)
    run()
