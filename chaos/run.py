"""One run: orders and faults side by side, then healing, draining and the check."""

import json
from collections.abc import Callable
from dataclasses import asdict
from threading import Thread
from time import monotonic

from chaos import effects
from chaos.effects import Checker, Verdict
from chaos.faults import Fault, Injector, plan
from chaos.shop import Shop, Wish, stock_for, wishes
from chaos.stage import PRODUCT, Stage

Say = Callable[[str], None]
LAB = "chaos"
#: I8: so long after healing everything must be finished.
DRAIN = 60.0


def chaos(stage: Stage, *, minutes: float, orders: int, seed: int, say: Say) -> Verdict:
    """Run it on the product. The stage is open."""
    made = wishes(seed, orders)
    say(f"{orders} orders and a fault every 3 s, for {minutes:g} minutes, seed {seed}. Preparing.")
    effects.empty_mailbox()
    stage.template(stock_for(made))
    stage.enter(LAB)
    stage.lay_network()
    stage.start(*PRODUCT)
    stage.await_ready(*PRODUCT)
    shop = Shop(stage.api, stage.token)
    injector = storm(stage, shop, made, minutes=minutes, seed=seed, say=say)
    drained = effects.settle(stage, DRAIN)
    verdict = Checker(made, effects.gather(stage)).check(injector.struck)
    verdict.drained_after = drained
    if drained is None:
        verdict.findings.append(f"I8: not drained within {DRAIN:g} s after healing")
    verdict.findings += [f"I7: answered {answer}" for answer in shop.unfit]
    effects.check_pipeline(stage, verdict)
    say(f"answers: {dict(shop.answers)}; faults that found nothing to hit: {injector.missed}")
    return verdict


def storm(stage: Stage, shop: Shop, made: list[Wish], *, minutes: float, seed: int, say: Say) -> Injector:
    """Orders and faults until the time is up; returns when all is mended and every customer has an answer."""
    began = monotonic()

    def tell(fault: Fault, hit: bool) -> None:
        accepted = sum(wish.order_id is not None for wish in made)
        asked = sum(wish.tries > 0 for wish in made)
        what = str(fault) if hit else f"({fault}: nothing to hit)"
        say(f"{monotonic() - began:6.1f} s  {what:<36} {asked:>6} asked {accepted:>6} accepted")

    injector = Injector(stage, plan(seed, minutes), tell)
    customers = Thread(target=shop.place_all, args=(made,), kwargs={"seconds": minutes * 60}, daemon=True)
    customers.start()
    injector.start()
    try:
        injector.join()
        say("Mending everything.")
        injector.heal()
        shop.hurry()
        stage.await_alive()
        customers.join(DRAIN)
    finally:
        injector.stopping.set()
        shop.close()
        customers.join(20)
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
    say(f"{drained} after healing; {verdict.in_doubt} mails in doubt (docs/decisions/0006)")


def details(verdict: Verdict, *, seed: int, left_out: tuple[str, ...]) -> str:
    """The same for machines: the line before the last."""
    return json.dumps({"seed": seed, "left_out": left_out, **asdict(verdict)})
