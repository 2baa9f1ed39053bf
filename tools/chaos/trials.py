"""The proof of the checker: for each deliberate breakage a short run with one fault aimed at it.

A trial is the same with and without its breakage: `control` runs it on the product as it is, which must come out clean.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from time import monotonic

import psycopg

from script._lib.waiting import wait_until
from tools.chaos import poison
from tools.chaos.customers import HOT, PLENTY
from tools.chaos.run import DRAIN, TALLY, Say
from tools.chaos.stage import PRODUCT, RELAY, Stage
from tools.harness import effects
from tools.harness.effects import Checker, Verdict
from tools.harness.mail import forget_mails, kept_mails
from tools.harness.servers import BROKER
from tools.harness.shop import Wish

STOCK = {PLENTY[0]: 1000, HOT: 1}
#: A trial is over when nothing has moved for so long: what a breakage loses never comes.
QUIET = 4.0
#: Long enough for the product to come back from the longest of its own pauses here.
CONTROL_QUIET = 25.0
GATE = 0x6A7E


@dataclass
class Trial:
    """The stage, with the breakage in every process, and the customers."""

    stage: Stage
    name: str
    control: bool
    wishes: list[Wish] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shop = self.stage.shop()

    @property
    def breakage(self) -> dict[str, str]:
        """What builds a process wrong, as its environment."""
        return {} if self.control else {"CHAOS_BREAKAGE": self.name}

    def start(self, *names: str, **env: str) -> None:
        self.stage.start(*names, **self.breakage, **env)

    def run(self, *arguments: str, **env: str) -> None:
        """Run Python to its end. Raises RuntimeError on an exit code other than 0."""
        done = self.stage.lab.run(*arguments, **self.breakage, **env)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def start_product(self, **env: str) -> None:
        """Returns when every process works and nothing of the preparation is on its way."""
        self.start(*PRODUCT, **env)
        self.stage.await_ready(*PRODUCT)
        wait_until(lambda: not self.outbox(), 30, "the outbox to be empty")

    def restart(self, name: str) -> None:
        """As the machine would after a kill -9, without the environment of its first start."""
        self.stage.end(name)
        self.start(name)

    def wish(self, product: str = PLENTY[0]) -> Wish:
        """One more order to be placed."""
        may_end = ["CONFIRMED", "REJECTED"] if product == HOT else ["CONFIRMED"]
        wish = Wish(f"{self.name}-{len(self.wishes)}@shop.example", {product: 1}, may_end)
        self.wishes.append(wish)
        return wish

    def place(self, count: int, product: str = PLENTY[0]) -> None:
        self.shop.place_all([self.wish(product) for _ in range(count)])

    def count(self, query: str, *params: str) -> int:
        ((count,),) = self.stage.lab.query(query, *params)
        return int(count)

    def outbox(self) -> int:
        return self.count("SELECT count(*) FROM outbox")

    def waiting_for(self, lock: str) -> int:
        """How many of the database's sessions wait for a lock of this type."""
        return self.count(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = %s", lock
        )

    def retries(self, attempt: int) -> int:
        """How many events of the counting consumer wait for this attempt."""
        ((count,),) = self.stage.lab.query(
            "SELECT count(*) FROM waiting_retry WHERE consumer = 'chaos.tally' AND attempt = %s", attempt
        )
        return int(count)

    @contextmanager
    def holding(self, lock: str) -> Iterator[None]:
        """A session of somebody else's that holds a lock meanwhile."""
        with psycopg.connect(self.stage.lab.database_url) as other:
            other.execute(lock)
            yield


def no_deduplication(trial: Trial) -> None:
    """The relay dies after the broker confirmed and before it noted that: everything is sent twice."""
    trial.start_product()
    trial.stage.end(RELAY)
    trial.place(5)
    trial.start(RELAY, FAILPOINT="relay.after_confirm")
    wait_until(lambda: "ended with code -9" in trial.stage.says(RELAY), 30, "the relay to die")
    trial.restart(RELAY)


def early_ack(trial: Trial) -> None:
    """A worker dies while its handler waits for a lock."""
    trial.start_product()
    with trial.holding("LOCK TABLE inventory_reservation IN ACCESS EXCLUSIVE MODE"):
        trial.place(3)
        wait_until(lambda: trial.waiting_for("relation"), 30, "a handler to wait")
        trial.stage.kill("worker_inventory")


def id_greater_than_last(trial: Trial) -> None:
    """One transaction draws its position first and commits last."""
    trial.start_product()
    trial.stage.lab.query(SLOW_COMMIT)
    slow = trial.wish()
    with ThreadPoolExecutor(1) as customer:
        with trial.holding(f"SELECT pg_advisory_lock({GATE})"):
            placing = customer.submit(trial.shop.place, slow)
            wait_until(lambda: trial.waiting_for("advisory"), 30, "the slow order to be about to commit")
            trial.place(3)
            wait_until(lambda: not trial.outbox(), 30, "the others to be published")
        placing.result()


# Deferred: it runs when the transaction commits, long after the statement drew its position.
SLOW_COMMIT = f"""
CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON orders_order DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.customer_email = 'id-greater-than-last-0@shop.example') EXECUTE FUNCTION wait_at_the_gate()
"""


def no_confirms(trial: Trial) -> None:
    """The broker stops in mid-breath, takes bytes but reads none, and is killed."""
    trial.start_product(CHAOS_CONFIRM_TIMEOUT="2")
    trial.stage.pause(BROKER)
    trial.place(5)
    if not trial.control:
        wait_until(lambda: not trial.outbox(), 30, "the relay to believe that it published")
    kill_and_restart_broker(trial)


def reused_channel(trial: Trial) -> None:
    """Confirms come late, then the broker stops again, takes one more message, and is killed."""
    trial.start_product(CHAOS_CONFIRM_TIMEOUT="1")
    trial.stage.pause(BROKER)
    trial.place(3)
    # The product then waits for a new connection instead of trying again on the old one.
    late = 1 if trial.control else 2
    wait_until(lambda: trial.stage.says(RELAY).count("relay.interrupted") >= late, 30, "confirms to be late")
    trial.stage.resume(BROKER)
    wait_until(lambda: not trial.outbox(), 30, "the late confirms")
    trial.stage.pause(BROKER)
    trial.place(1)
    if not trial.control:
        wait_until(lambda: not trial.outbox(), 30, "the relay to take a stale confirm for a new one")
    kill_and_restart_broker(trial)


def kill_and_restart_broker(trial: Trial) -> None:
    trial.stage.kill(BROKER)
    trial.stage.servers.restart(BROKER)


def unconfirmed_retries(trial: Trial) -> None:
    """Retries come due while the broker hangs, takes bytes but reads none, and is killed."""
    trial.start_product(CHAOS_CONFIRM_TIMEOUT="2")
    trial.stage.lab.query("INSERT INTO chaos_broken VALUES ('the trial')")
    trial.place(2)
    # The second time, so that the relay has a connection for them.
    for attempt in (2, 3):
        wait_until(lambda: trial.retries(attempt) == 4, 30, "the events to wait for their next attempt")  # noqa: B023
        if attempt == 3:
            trial.stage.pause(BROKER)
            trial.stage.lab.query("DELETE FROM chaos_broken")
        trial.stage.lab.query("UPDATE waiting_retry SET due_at = now()")
    if not trial.control:
        wait_until(lambda: not trial.retries(3), 30, "the relay to believe that it sent them")
    kill_and_restart_broker(trial)


def unlocked_stock(trial: Trial) -> None:
    """Two transactions have read the shelf before either has taken the last piece from it."""
    trial.start_product(WORKER_PROCESSES="4")
    with trial.holding("LOCK TABLE inventory_reservation IN ACCESS EXCLUSIVE MODE"):
        trial.place(1, HOT)
        wait_until(lambda: sessions_waiting(trial) == 1, 30, "the first to have read the shelf")
        trial.place(1, HOT)
        wait_until(lambda: sessions_waiting(trial) == 2, 30, "the second to be at the shelf")


def sessions_waiting(trial: Trial) -> int:
    return sum(trial.waiting_for(lock) for lock in ("relation", "tuple", "transactionid"))


def mail_before_commit(trial: Trial) -> None:
    """The sender dies when the mail server has taken the mail."""
    trial.start_product(FAILPOINT="mail.after_send")
    trial.place(1)
    wait_until(kept_mails, 30, "the mail")
    trial.restart("worker_notifications")


def poison_opens_the_breaker(trial: Trial) -> None:
    """Good orders come while a consumer has more events that nobody can handle than its breaker judges by."""
    trial.start_product()
    poison.publish(trial.stage.lab.broker_url, "", "orders.confirm", poison.of_no_order, {})
    wait_until(lambda: trial.count(DEAD) >= 20, 30, "the first of them to be dead letters")
    trial.place(3)


DEAD = "SELECT count(*) FROM processed_event WHERE outcome = 'dead'"


def deadline_by_the_clock(trial: Trial) -> None:
    """Nothing is published for longer than an order may wait, and somebody looks for overdue ones meanwhile."""
    trial.start_product()
    trial.stage.end(RELAY)
    trial.place(3)
    wait_until(lambda: trial.count(OLD) == 3, 30, "the orders to be overdue")
    trial.run("manage.py", "shell", "-c", "from orders.tasks import resolve_stuck; resolve_stuck()", ORDER_DEADLINE="1")
    trial.start(RELAY)


OLD = "SELECT count(*) FROM orders_order WHERE created_at < now() - interval '2 seconds'"


def no_mail_for_a_cancelled_order(trial: Trial) -> None:
    """Two customers change their minds."""
    trial.start_product()
    trial.place(2)
    for wish in trial.wishes:
        wait_until(partial(trial.shop.call_off, wish), 30, "the order to be cancelled")


TRIALS: dict[str, Callable[[Trial], None]] = {
    "no-deduplication": no_deduplication,
    "early-ack": early_ack,
    "id-greater-than-last": id_greater_than_last,
    "no-confirms": no_confirms,
    "reused-channel": reused_channel,
    "unconfirmed-retries": unconfirmed_retries,
    "unlocked-stock": unlocked_stock,
    "mail-before-commit": mail_before_commit,
    "poison-opens-the-breaker": poison_opens_the_breaker,
    "deadline-by-the-clock": deadline_by_the_clock,
    "no-mail-for-a-cancelled-order": no_mail_for_a_cancelled_order,
}


def run(stage: Stage, name: str, *, control: bool) -> Verdict:
    """One trial in a laboratory of its own; what the checker says of it."""
    forget_mails()
    stage.enter("chaos_trial")
    trial = Trial(stage, name, control)
    try:
        TRIALS[name](trial)
        stage.await_staffed()
        drained = effects.settle(stage.lab, DRAIN, quiet=CONTROL_QUIET if control else QUIET)
        evidence = effects.gather(stage.lab, trial.shop, kept_mails(), TALLY)
        verdict = Checker(trial.shop, evidence, contested=(HOT,)).check()
    finally:
        trial.shop.close()
        stage.resume(BROKER)
        stage.leave()
    verdict.drained_after, verdict.faults = drained, 1
    return verdict


def main(wanted: str, *, control: bool, as_json: bool, say: Say) -> int:
    """Run one trial or all; 0 if every breakage was caught, or every control came out clean."""
    if wanted != "all" and not set(wanted.split(",")) <= set(TRIALS):
        say(f"There is no breakage {wanted!r}. Known: {', '.join(TRIALS)}, and all.")
        return 2
    right = []
    with Stage() as stage:
        stage.template(STOCK)
        for name in TRIALS if wanted == "all" else wanted.split(","):
            began = monotonic()
            verdict = run(stage, name, control=control)
            caught = bool(verdict.lost or verdict.doubled or verdict.limbo)
            right.append(caught is not control)
            words = "caught" if caught else "not caught"
            say(
                f"{name:<28} {words:<11} lost {verdict.lost} doubled {verdict.doubled} limbo {verdict.limbo}"
                f"  {monotonic() - began:5.1f} s  {next(iter(verdict.findings), '')}"
            )
            if as_json:
                told = {"breakage": name, "control": control, "caught": caught, **asdict(verdict)}
                print(json.dumps(told), flush=True)
    return 0 if all(right) else 1
