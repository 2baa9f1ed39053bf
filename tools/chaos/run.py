"""One run: orders and faults side by side, then healing, draining and the check."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from threading import Thread
from time import monotonic

from tools.chaos.customers import HOT, Customers, stock_for, wishes
from tools.chaos.faults import Fault, Injector, Struck, plan
from tools.chaos.stage import PRODUCT, Stage
from tools.harness import effects
from tools.harness.effects import Checker, Counting, Verdict
from tools.harness.mail import forget_mails, kept_mails
from tools.harness.shop import Shop, Wish

Say = Callable[[str], None]
LAB = "chaos"
#: I8: this long after everything is restored all must be finished.
DRAIN = 60.0
TALLY = Counting("^chaos[.]tally$", "SELECT 'chaos.tally' AS consumer, event_id FROM chaos_tally")
DEAD = "SELECT consumer, count(*) FROM processed_event WHERE outcome IN ('dead', 'waiting') GROUP BY 1"


def chaos(stage: Stage, *, minutes: float, orders: int, seed: int, say: Say) -> Verdict:
    """Run it on the product. The stage is open."""
    made = wishes(seed, orders)
    say(f"{orders} orders and a fault every 3 s, for {minutes:g} minutes, seed {seed}. Preparing.")
    set_up(stage, made, PRODUCT)
    shop = stage.shop()
    injector = storm(stage, shop, made, minutes=minutes, seed=seed, say=say)
    drained = effects.settle(stage.lab, DRAIN)
    evidence = effects.gather(stage.lab, shop, kept_mails(), TALLY)
    verdict = Checker(shop, evidence, contested=(HOT,)).check(spans(injector.struck))
    verdict.drained_after = drained
    if drained is None:
        verdict.findings.append(f"I8: not drained within {DRAIN:g} s after everything was restored")
    verdict.findings += effects.violations(stage.lab)
    check_dead_letters(stage, verdict)
    say(f"answers: {dict(shop.statuses)}, none: {dict(shop.failures)}; faults without a target: {injector.missed}")
    return verdict


def set_up(stage: Stage, made: Sequence[Wish], processes: Sequence[str]) -> None:
    """Begin with stock for these wishes, no mails, a network, and these processes at work."""
    forget_mails()
    stage.template(stock_for(made))
    stage.enter(LAB)
    stage.lay_network()
    stage.start(*processes)
    stage.await_ready(*processes)


def spans(struck: Sequence[Struck]) -> list[tuple[float, float]]:
    return [(each.began, each.until) for each in struck]


def check_dead_letters(stage: Stage, verdict: Verdict) -> None:
    """I5: none is anywhere."""
    dead: dict[str, int] = dict(stage.lab.query(DEAD))
    status = json.loads(stage.lab.python("manage.py", "bus_status", "--json", expect=(0, 1)))
    letters = sum(dead.values()) or sum(queue["dead"] for queue in status["queues"])
    if letters:
        verdict.limbo += letters
        verdict.findings.append(f"limbo: I5: {letters} dead letters: {dead}")


def storm(stage: Stage, shop: Shop, made: list[Wish], *, minutes: float, seed: int, say: Say) -> Injector:
    """Orders and faults until the time is up; returns when all is restored and every customer has an answer."""
    began = monotonic()
    say(f"on RabbitMQ {stage.lab.broker.ask('GET', 'overview')['rabbitmq_version']}")

    def tell(fault: Fault, hit: bool) -> None:
        what = str(fault) if hit else f"({fault}: nothing to hit)"
        say(f"{monotonic() - began:6.1f} s  {what:<36} {len(shop.log):>6} asked {len(shop.accepted):>6} accepted")

    injector = Injector(stage, plan(seed, minutes), tell)
    customers = Customers(shop)
    placing = Thread(target=customers.place_all, args=(made,), kwargs={"seconds": minutes * 60}, daemon=True)
    placing.start()
    injector.start()
    try:
        injector.join()
        say("Restoring everything.")
        injector.heal()
        customers.hurry()
        stage.await_alive()
        placing.join(DRAIN)
    finally:
        injector.stopping.set()
        customers.close()
        placing.join(20)
    return injector


def report(verdict: Verdict, *, say: Say, left_out: tuple[str, ...]) -> None:
    """What there is to know, in words."""
    for finding in verdict.findings[:40]:
        say(finding)
    if len(verdict.findings) > 40:
        say(f"… and {len(verdict.findings) - 40} more")
    for what in left_out:
        say(f"left out: {what}")
    drained = "not drained" if verdict.drained_after is None else f"drained in {verdict.drained_after:g} s"
    say(f"{drained} after everything was restored; {verdict.in_doubt} mails in doubt (docs/decisions/0006)")


def details(verdict: Verdict, *, seed: int, left_out: tuple[str, ...]) -> str:
    """The same for machines: the line before the last."""
    return json.dumps({"seed": seed, "left_out": left_out, **asdict(verdict)})
