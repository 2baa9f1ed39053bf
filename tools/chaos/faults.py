"""What is done to the product: a sequence that follows from the seed alone, and the hands that do it."""

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic, time

from tools.chaos.stage import DEAD_LETTERS, RELAY, WEB, WORKERS, Stage
from tools.harness.servers import BROKER, MAIL, POSTGRES, signal_if_there

EVERY = 3.0
#: A server that was hit needs a while to come back: it is left alone so long, or orders would never flow.
RECOVERY = 24.0
#: A mail that was refused four times waits for a minute and more, longer than the product has for draining.
MAIL_RECOVERY = 45.0
LONGEST_PAUSE = 6.0
#: Past the heartbeats of the workers' connections: the broker gives what they hold to others, or to them once more.
LONGEST_CUT = 30.0
LEFT_OUT = ("network partition between broker nodes: there is one; see tests/faults/test_cluster.py",)

#: (action, target, weight)
CHOICES: tuple[tuple[str, str, int], ...] = (
    ("kill", WEB, 3),
    ("kill", RELAY, 3),
    *(("kill", worker, 1) for worker in (*WORKERS, DEAD_LETTERS)),
    ("kill child", WEB, 1),
    *(("kill child", worker, 1) for worker in WORKERS),
    ("kill", BROKER, 2),
    ("kill", POSTGRES, 1),
    ("stop at once", POSTGRES, 1),
    *(("pause", target, 1) for target in (WEB, RELAY, *WORKERS[:3], BROKER, POSTGRES)),
    ("kill", MAIL, 2),
    ("cut off", RELAY, 2),
    *(("cut off", target, 1) for target in (*WORKERS, DEAD_LETTERS)),
)
LASTING = ("pause", "cut off")
SERVERS = {BROKER: RECOVERY, POSTGRES: RECOVERY, MAIL: MAIL_RECOVERY}


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the first order. `pick` chooses among children; `seconds` is how long it lasts."""

    at: float
    action: str
    target: str
    seconds: float
    pick: float

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.0f} s" if self.action in LASTING or self.target == MAIL else ""
        return f"{self.action} {self.target}{lasting}"


@dataclass
class Struck:
    """A fault that happened, by the clock; `until` is when what it hit was back."""

    fault: Fault
    began: float
    until: float = 0.0


def plan(seed: int, minutes: float) -> list[Fault]:
    """A fault every three seconds. The same for the same seed."""
    dice = random.Random(f"{seed} faults")
    faults: list[Fault] = []
    rested = dict.fromkeys(SERVERS, 0.0)
    for number in range(1, int(minutes * 60 / EVERY)):
        at = number * EVERY
        # Drawn from all and drawn again, so that a server's rest does not shift the rest of the sequence much.
        while True:
            action, target, _ = dice.choices(CHOICES, [weight for *_, weight in CHOICES])[0]
            if rested.get(target, 0.0) <= at:
                break
        if target in SERVERS:
            rested[target] = at + SERVERS[target]
        longest = LONGEST_CUT if action == "cut off" else LONGEST_PAUSE
        faults.append(Fault(at, action, target, round(dice.uniform(2, longest), 1), dice.random()))
    return faults


class Injector(Thread):
    """Carries a plan out, fault by fault; each heals in a thread of its own."""

    def __init__(self, stage: Stage, faults: list[Fault], tell: Callable[[Fault, bool], None]) -> None:
        super().__init__(name="injector", daemon=True)
        self.stage, self.faults, self.tell = stage, faults, tell
        self.struck: list[Struck] = []
        self.missed = 0
        self.errors: list[str] = []
        self.stopping = Flag()
        self._healing: list[Thread] = []
        self._lasting: set[tuple[str, str]] = set()
        self._lock = Lock()

    def run(self) -> None:
        began = monotonic()
        for fault in self.faults:
            if self.stopping.wait(max(0.0, began + fault.at - monotonic())):
                return
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        struck = Struck(fault, time())
        heal = self._hit(fault)
        self.tell(fault, heal is not None)
        if heal is None:
            self.missed += 1
            return
        self.struck.append(struck)

        def restore() -> None:
            try:
                heal()
            except (RuntimeError, TimeoutError) as error:
                self.errors.append(f"{fault}: {error}")
            struck.until = time()

        restoring = Thread(target=restore, name=f"restoring {fault}", daemon=True)
        restoring.start()
        self._healing.append(restoring)

    def _hit(self, fault: Fault) -> Callable[[], None] | None:
        """Do it; returns what restores it, or None where there was nothing to hit."""
        stage, target = self.stage, fault.target
        match fault.action:
            case "pause":
                return self._for_a_while(fault, stage.pause, stage.resume)
            case "cut off":
                return self._for_a_while(fault, stage.cut_off, stage.join)
            case "kill child":
                children = stage.children(target)
                return self._kill_child(children, fault) if children else None
            case "stop at once":
                pid = stage.servers.stop_at_once(target)
                return None if pid is None else lambda: self._await_end_and_restart(target, pid)
        if not stage.kill(target):
            return None
        if target == MAIL:
            return lambda: self._wait_and_restart(target, fault.seconds)
        if target in (BROKER, POSTGRES):
            return lambda: stage.servers.restart(target)
        return lambda: None  # its supervisor starts it again

    def _kill_child(self, children: list[int], fault: Fault) -> Callable[[], None]:
        signal_if_there(children[int(fault.pick * len(children))], signal.SIGKILL)
        return lambda: None

    def _for_a_while(
        self, fault: Fault, begin: Callable[[str], bool], end: Callable[[str], None]
    ) -> Callable[[], None] | None:
        what = (fault.action, fault.target)
        with self._lock:
            if what in self._lasting or not begin(fault.target):
                return None
            self._lasting.add(what)

        def restore() -> None:
            self.stopping.wait(fault.seconds)
            with self._lock:
                end(fault.target)
                self._lasting.discard(what)

        return restore

    def _await_end_and_restart(self, target: str, pid: int) -> None:
        self.stage.servers.await_end(target, pid)
        self.stage.servers.restart(target)

    def _wait_and_restart(self, target: str, seconds: float) -> None:
        self.stopping.wait(seconds)
        self.stage.servers.restart(target)

    def heal(self) -> None:
        """Strike no more; returns when everything that was hit is restored. Raises RuntimeError if something is not."""
        self.stopping.set()
        if self.is_alive():
            self.join(30)
        for restoring in self._healing:
            restoring.join(120)
        if self.errors:
            raise RuntimeError("; ".join(self.errors))
