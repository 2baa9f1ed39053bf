"""The same orders and the same faults on plain Celery: what its users have today."""

from chaos import effects
from chaos.effects import Checker, Verdict
from chaos.run import DRAIN, LAB, Say, storm
from chaos.shop import Shop, stock_for, wishes
from chaos.stage import WEB, Stage

WORKERS = ("worker_orders", "worker_inventory", "worker_notifications")
UNFINISHED = "SELECT count(*) FROM orders_order WHERE status = 'CREATED'"
#: Its own retries back off for about a minute.
QUIET = 45.0


class PlainStage(Stage):
    """The baseline's processes under the names of those that they stand for. It has no relay and counts nothing."""

    def __init__(self) -> None:
        super().__init__(settings="chaos.plain.settings")

    def commands(self) -> dict[str, str]:
        workers = {
            name: f"celery -A chaos.plain.app worker --concurrency=2 --without-gossip --without-mingle --loglevel=INFO "
            f"--hostname={name}@%h --queues={name.removeprefix('worker_')}"
            for name in WORKERS
        }
        return {WEB: super().commands()[WEB], **workers}


def baseline(stage: Stage, *, minutes: float, orders: int, seed: int, say: Say) -> Verdict:
    """Run it. The stage is open. Faults on processes that it does not have find nothing to hit."""
    made = wishes(seed, orders)
    say(f"Plain Celery: {orders} orders and a fault every 3 s, for {minutes:g} minutes, seed {seed}. Preparing.")
    effects.empty_mailbox()
    stage.template(stock_for(made))
    stage.enter(LAB)
    stage.lay_network()
    stage.start(WEB, *WORKERS)
    stage.await_ready(WEB, *WORKERS)
    shop = Shop(stage.api, stage.token)
    injector = storm(stage, shop, made, minutes=minutes, seed=seed, say=say)
    drained = effects.settle(stage, DRAIN, quiet=QUIET, unfinished=UNFINISHED)
    verdict = Checker(made, effects.gather(stage, events=False), full=False).check(injector.struck)
    verdict.drained_after = drained
    verdict.findings += [f"I7: answered {answer}" for answer in shop.unfit]
    say(f"answers: {dict(shop.answers)}; faults that found nothing to hit: {injector.missed}")
    return verdict
