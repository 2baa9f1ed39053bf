"""The same orders and the same faults on plain Celery: what its users have today."""

from collections.abc import Sequence

from tools.chaos.customers import HOT, wishes
from tools.chaos.kinds import Fault, Scene
from tools.chaos.run import DRAIN, Say, set_up, storm, tell_answers
from tools.chaos.stage import WEB, Stage
from tools.harness import effects
from tools.harness.effects import Checker, Verdict
from tools.harness.laboratory import Laboratory
from tools.harness.mail import kept_mails

WORKERS = ("worker_orders", "worker_inventory", "worker_notifications")
#: Its own retries back off for about a minute.
QUIET = 45.0


class PlainStage(Stage):
    """The baseline's processes under the names of those that they stand for. It has no relay and counts nothing."""

    settings = "tools.chaos.plain.settings"

    def commands(self) -> dict[str, str]:
        workers = {
            name: "celery -A tools.chaos.plain.app worker --concurrency=2 --without-gossip --without-mingle "
            f"--loglevel=INFO --hostname={name}@%h --queues={name.removeprefix('worker_')}"
            for name in WORKERS
        }
        return {WEB: super().commands()[WEB], **workers}


def baseline(stage: Stage, faults: list[Fault], *, minutes: float, orders: int, seed: int, say: Say) -> Verdict:
    """Run it. The stage is open. Faults on what it does not have find nothing to hit."""
    made = wishes(seed, orders)
    say(f"Plain Celery: {orders} orders and {len(faults)} faults in {minutes:g} minutes, seed {seed}. Preparing.")
    set_up(stage, made, (WEB, *WORKERS))
    scene = Scene(stage, stage.shop())
    injector = storm(scene, made, faults, minutes=minutes, say=say)
    drained = effects.settle(stage.lab, DRAIN, quiet=QUIET, unsettled=unfinished)
    evidence = effects.gather(stage.lab, scene.shop, kept_mails(), None)
    verdict = Checker(scene.shop, evidence, full=False, contested=(HOT,)).check(injector.troubles())
    verdict.drained_after = drained
    tell_answers(scene, injector, say)
    return verdict


def unfinished(lab: Laboratory) -> Sequence[object]:
    """Orders of which nobody knows yet how they end."""
    return lab.query("SELECT id FROM orders_order WHERE status = 'CREATED'")
