"""One run: orders and faults side by side, then healing, draining and the check."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from threading import Thread
from time import monotonic

from tools.chaos.customers import HOT, Customers, stock_for, wishes
from tools.chaos.injector import Injector
from tools.chaos.kinds import Fault, Scene
from tools.chaos.stage import CARETAKERS, PRODUCT, Stage
from tools.harness import effects
from tools.harness.effects import Checker, Counting, Verdict, Wait
from tools.harness.laboratory import Laboratory
from tools.harness.mail import forget_mails, kept_mails
from tools.harness.shop import Wish

Say = Callable[[str], None]
LAB = "chaos"
#: I8: this long after everything is restored all must be finished.
DRAIN = 60.0
#: In seconds. Longer than any fault, or several in a row, can keep a single order from being answered.
ORDER_DEADLINE = 240
TALLY = Counting("^chaos[.]tally$", "SELECT 'chaos.tally' AS consumer, event_id FROM chaos_tally")
LETTERS = "SELECT event_id::text, consumer FROM dead_letter WHERE state = 'open'"
NOTED = "SELECT event_id::text, consumer FROM processed_event WHERE outcome IN ('dead', 'waiting')"


def chaos(stage: Stage, faults: list[Fault], *, minutes: float, orders: int, seed: int, say: Say) -> Verdict:
    """Run it on the product. The stage is open."""
    made = wishes(seed, orders)
    say(f"{orders} orders and {len(faults)} faults in {minutes:g} minutes, seed {seed}. Preparing.")
    set_up(stage, made, (*PRODUCT, *CARETAKERS))
    scene = Scene(stage, stage.shop())
    injector = storm(scene, made, faults, minutes=minutes, say=say)
    drained = effects.settle(stage.lab, DRAIN, unsettled=lambda lab: effects.unsettled(lab) or letters_due(lab, scene))
    evidence = effects.gather(stage.lab, scene.shop, kept_mails(), TALLY)
    verdict = Checker(scene.shop, evidence, contested=(HOT,)).check(injector.troubles())
    verdict.drained_after = drained
    if drained is None:
        verdict.findings.append(f"I8: not drained within {DRAIN:g} s after everything was restored")
    verdict.findings += effects.violations(stage.lab)
    check_dead_letters(scene, verdict)
    tell_answers(scene, injector, say)
    return verdict


def set_up(stage: Stage, made: Sequence[Wish], processes: Sequence[str]) -> None:
    """Begin with stock for these wishes, no mails, a network, and these processes at work."""
    forget_mails()
    stage.template(stock_for(made))
    stage.enter(LAB)
    stage.lay_network()
    stage.start(*processes, ORDER_DEADLINE=str(ORDER_DEADLINE))
    stage.await_ready(*processes)


def tell_answers(scene: Scene, injector: Injector, say: Say) -> None:
    shop = scene.shop
    say(f"answers: {dict(shop.statuses)}, none: {dict(shop.failures)}; faults without a target: {injector.missed}")


def letters_due(lab: Laboratory, scene: Scene) -> list[str]:
    """The poison that is nowhere yet, by id."""
    letters = {event_id for event_id, _ in lab.query(LETTERS)}
    return [event_id for event_id, is_confirmed in scene.poison.items() if is_confirmed and event_id not in letters]


def check_dead_letters(scene: Scene, verdict: Verdict) -> None:
    """I5: all poison is a dead letter, and nothing else is."""
    letters = scene.stage.lab.query(LETTERS)
    strange = {*letters, *scene.stage.lab.query(NOTED)}
    strange = {(event_id, consumer) for event_id, consumer in strange if event_id not in scene.poison}
    status = json.loads(scene.stage.lab.python("manage.py", "bus_status", "--json", expect=(0, 1)))
    on_the_way = sum(queue["dead"] for queue in status["queues"]) - len(letters)
    if strange or on_the_way:
        verdict.limbo += len(strange) + on_the_way
        where = dict(Counter(consumer for _, consumer in strange))
        verdict.findings.append(
            f"limbo: I5: {len(strange)} dead letters of good events: {where}, {on_the_way} on their way"
        )
    for event_id in letters_due(scene.stage.lab, scene):
        verdict.count("lost", f"I5: poison {event_id} is no dead letter")


def storm(scene: Scene, made: list[Wish], faults: list[Fault], *, minutes: float, say: Say) -> Injector:
    """Orders and faults until the time is up; returns when all is restored and every customer has an answer."""
    began, shop = monotonic(), scene.shop
    say(f"on RabbitMQ {scene.stage.lab.broker.ask('GET', 'overview')['rabbitmq_version']}")

    def tell(fault: Fault, why_not: str) -> None:
        what = f"({fault}: {why_not})" if why_not else str(fault)
        say(f"{monotonic() - began:6.1f} s  {what:<52} {len(shop.log):>6} asked {len(shop.accepted):>6} accepted")

    injector = Injector(scene, faults, tell)
    customers = Customers(shop)
    placing = Thread(target=customers.place_all, args=(made,), kwargs={"seconds": minutes * 60}, daemon=True)
    placing.start()
    injector.start()
    try:
        injector.join()
        injector.stopping.wait(max(0.0, began + minutes * 60 - monotonic()))
        say("Restoring everything.")
        injector.heal()
        customers.hurry()
        scene.stage.await_alive()
        placing.join(DRAIN)
    finally:
        injector.stopping.set()
        customers.close()
        placing.join(20)
    return injector


def report(verdict: Verdict, *, say: Say, left_out: Sequence[str]) -> None:
    """What there is to know, in words."""
    for finding in verdict.findings[:40]:
        say(finding)
    if len(verdict.findings) > 40:
        say(f"… and {len(verdict.findings) - 40} more")
    for what in left_out:
        say(f"left out: {what}")
    if waits := verdict.waits:
        say(f"the longest wait from 201 to the end of an order: {told(waits.longest)}")
        say(
            f"without {waits.behind_a_lock} orders of which a row was locked, and {waits.in_an_outage} during which "
            f"web, PostgreSQL or RabbitMQ was down: {told(waits.longest_otherwise)}"
        )
        say(f"the longest wait for a 201: {waits.longest_answer:g} s")
    drained = "not drained" if verdict.drained_after is None else f"drained in {verdict.drained_after:g} s"
    say(f"{drained} after everything was restored; {verdict.in_doubt} mails in doubt (docs/decisions/0006)")


def told(wait: Wait) -> str:
    during = f", during: {'; '.join(wait.during)}" if wait.during else ""
    return f"{wait.seconds:g} s ({wait.customer or 'nobody'}{during})"


def details(verdict: Verdict, *, seed: int, left_out: Sequence[str]) -> str:
    """The same for machines: the line before the last."""
    return json.dumps({"seed": seed, "left_out": left_out, **asdict(verdict)})
