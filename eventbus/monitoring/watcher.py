"""The watching does not rest on the watched: alarms are evaluated and sent, and samples taken, without broker, beat and
workers.

Relays and the dead-letter processes each have a watcher, in threads beside their work. They take turns, so that each
half minute is evaluated once, and each is there for the other: if one of them hangs, is frozen or gone, the other says
so. When the database is away, of which only memory can tell, they say that too.
"""

import fcntl
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import IO

import structlog
from django.db import DatabaseError, InterfaceError, connection

from eventbus.conf import bus_settings
from eventbus.db.sessions import hurry_sessions, within
from eventbus.db.sql import fetch
from eventbus.ids import new_id
from eventbus.monitoring import alarms, notifier, samples
from eventbus.monitoring.models import AlarmNotice, AlarmState

log = structlog.get_logger(__name__)

#: Seconds until the first look: whoever was started together with us has given a sign of life by then.
FIRST_LOOK = 30.0
LOOK_EVERY = 2.0
#: Seconds for the smallest of questions to the database.
ANSWER_WITHIN = 5
#: Seconds that an evaluation may take, the broker's part in it included.
PATIENCE = 60
#: Seconds after which a database that does not answer is reported: a restart is no outage.
OUTAGE_AFTER = 15.0
#: Seconds until a notice that did not arrive is sent again.
SEND_EVERY = 30.0


class Courier(threading.Thread):
    """Sends the notices of one channel: no receiver keeps another one, or an evaluation, waiting."""

    def __init__(self, channel: str) -> None:
        super().__init__(name=f"notices by {channel}", daemon=True)
        self.channel = channel
        #: What is sent from memory, oldest first.
        self.spoken: list[AlarmNotice] = []
        self.wake = threading.Event()

    def run(self) -> None:
        hurry_sessions("alarm notices", seconds=PATIENCE)
        while True:
            self.wake.wait(SEND_EVERY)
            self.wake.clear()
            while self.spoken and notifier.was_sent(self.spoken[0]):
                del self.spoken[0]
            try:
                notifier.deliver_over(self.channel)
            except (DatabaseError, InterfaceError) as error:
                log.warning("alarms.not_sent", channel=self.channel, error=f"{type(error).__name__}: {error}")
            except Exception as error:
                log.error("alarms.not_sent", channel=self.channel, exc_info=error)
            finally:
                connection.close()

    def say(self, state: AlarmState, value: float) -> None:
        """Send a notice that no table has."""
        notice = AlarmNotice(
            id=new_id(),
            name="database_away",
            state=state,
            value=value,
            changed_at=datetime.now(UTC),
            channel=self.channel,
        )
        self.spoken.append(notice)
        self.wake.set()


class Outage:
    """The database is away. Reported once, and so is its end, however many watch on this host."""

    def __init__(self, couriers: Iterable[Courier]) -> None:
        self.couriers = couriers
        self._began: float | None = None
        self._is_mine = False
        self._lock: IO[str] | None = None

    def goes_on(self, error: Exception) -> None:
        if self._began is None:
            self._began = monotonic()
            log.error("alarms.no_database", error=f"{type(error).__name__}: {error}")
        elif not self._is_mine and monotonic() - self._began > OUTAGE_AFTER and self._claim():
            self._is_mine = True
            self._say(AlarmState.FIRING, 1.0)

    def is_over(self) -> None:
        if self._is_mine:
            self._say(AlarmState.OK, 0.0)
        self._began, self._is_mine = None, False
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _say(self, state: AlarmState, value: float) -> None:
        log.error("alarm.changed", alarm="database_away", state=state)
        for courier in self.couriers:
            courier.say(state, value)

    def _claim(self) -> bool:
        """Whether nobody else on this host reports it. The lock goes with its holder."""
        if bus_settings.HEARTBEAT_DIR is None:
            return True
        try:
            self._lock = (bus_settings.HEARTBEAT_DIR / "database_away.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            log.warning("alarms.no_lock", error=str(error))
        return True


class Watcher(threading.Thread):
    """Evaluates the alarms whenever it is time and nobody else has."""

    def __init__(self) -> None:
        super().__init__(name="alarms", daemon=True)
        self.couriers = [Courier(channel) for channel in notifier.channels()]
        self.outage = Outage(self.couriers)

    def run(self) -> None:
        for courier in self.couriers:
            courier.start()
        hurry_sessions("alarms", seconds=PATIENCE // 2)
        pause = threading.Event()
        pause.wait(FIRST_LOOK)
        while True:
            try:
                self.look()
            except Exception as error:
                # Whatever it was: the next look must come.
                connection.close()
                log.error("alarms.not_evaluated", exc_info=error)
            pause.wait(LOOK_EVERY)

    def look(self) -> None:
        """Evaluate if it is time; note whether the database answers."""
        try:
            with within(ANSWER_WITHIN):
                is_due = alarms.is_due()
            if is_due:
                with within(PATIENCE):
                    alarms.evaluate()
                for courier in self.couriers:
                    courier.wake.set()
            with within(PATIENCE):
                samples.take_if_due()
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            connection.close()
            if (cause := no_answer()) is not None:
                self.outage.goes_on(cause)
                return
            log.error("alarms.not_evaluated", exc_info=error)
        self.outage.is_over()


def no_answer() -> Exception | None:
    """Why the database does not answer; None if it does. A statement may fail in a database that is well."""
    try:
        with within(ANSWER_WITHIN):
            fetch("SELECT 1")
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        connection.close()
        return error
    return None
