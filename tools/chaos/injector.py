"""Carries a plan out, fault by fault."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread
from time import monotonic, time

import psycopg

from eventbus.broker.publisher import SEND_ERRORS
from tools.chaos.kinds import KINDS, Fault, Harm, NothingToHit, Scene
from tools.harness.broker_trouble import TROUBLE
from tools.harness.effects import Trouble

#: What a fault ends with that finds its server away: another fault was there before it.
AWAY: tuple[type[Exception], ...] = (NothingToHit, psycopg.OperationalError, *SEND_ERRORS, *TROUBLE)

#: Seconds in which what was hit last must be back: a server may be hit again while it starts.
HEALING = 300


@dataclass
class Struck:
    """A fault that happened, by the clock; `until` is when what it hit was back."""

    fault: Fault
    began: float
    until: float = 0.0
    locked: Collection[str] = ()

    def as_trouble(self) -> Trouble:
        return Trouble(str(self.fault), self.began, self.until, self.fault.is_outage, self.locked)


class Injector(Thread):
    """Strikes one after the other; each heals in a thread of its own."""

    def __init__(self, scene: Scene, faults: list[Fault], tell: Callable[[Fault, str], None]) -> None:
        """`tell` hears of each fault, and of why it hit nothing, if so."""
        super().__init__(name="injector", daemon=True)
        self.scene, self.faults, self.tell = scene, faults, tell
        self.struck: list[Struck] = []
        self.missed = 0
        self.errors: list[str] = []
        self.stopping = Flag()
        self._healing: list[Thread] = []

    def run(self) -> None:
        began = monotonic()
        for fault in self.faults:
            if self.stopping.wait(max(0.0, began + fault.at - monotonic())):
                return
            try:
                self._strike(fault)
            except Exception as error:  # noqa: BLE001  the run goes on, and heal() says what is wrong with our own doing
                self.errors.append(f"{fault}: {type(error).__name__}: {error}")

    def _strike(self, fault: Fault) -> None:
        struck = Struck(fault, time())
        harm = KINDS[fault.action].do(self.scene, fault)
        try:
            struck.locked = harm.__enter__() or ()
        except AWAY as why:
            self.missed += 1
            self.tell(fault, str(why) or "nothing to hit")
            return
        self.tell(fault, "")
        self.struck.append(struck)
        healing = Thread(target=self._heal, args=(struck, harm), name=f"healing {fault}", daemon=True)
        healing.start()
        self._healing.append(healing)

    def _heal(self, struck: Struck, harm: Harm) -> None:
        self.stopping.wait(struck.fault.seconds)
        try:
            harm.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001  as above
            self.errors.append(f"{struck.fault}: {type(error).__name__}: {error}")
        struck.until = time()

    def troubles(self) -> list[Trouble]:
        """What struck, for the checker."""
        return [struck.as_trouble() for struck in self.struck]

    def heal(self) -> None:
        """Strike no more; returns when everything that was hit is restored. Raises RuntimeError if something is not."""
        self.stopping.set()
        if self.is_alive():
            self.join(60)
        for healing in self._healing:
            healing.join(HEALING)
        if self.errors:
            raise RuntimeError("; ".join(self.errors))
