"""Consumers that leave a row per event, and one that fails in the way that the event asks for."""

import os
import signal

import psycopg
from django.db import connection

from eventbus import Event, PermanentFailure, Retry, consumer
from tests.testapp import events
from tests.testapp.events import RELEASE, ChangedOne, NapAsked, PastTold, ProbeSent, TroubleAsked


def leave_effect(consumer_name: str, event: Event) -> None:
    """One row, in the transaction of the handler."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO effect (consumer, event_id, aggregate_id, sequence, pid) VALUES (%s, %s, %s, %s, %s)",
            [consumer_name, event.envelope.event_id, event.aggregate_id, event.envelope.sequence, os.getpid()],
        )


def note_run(consumer_name: str, event: Event) -> None:
    """One row that stays whatever becomes of the handler's transaction."""
    known = connection.get_connection_params()
    login = {name: known[name] for name in ("host", "port", "dbname", "user", "password")}
    with psycopg.connect(**login, autocommit=True) as own:
        own.execute(
            "INSERT INTO run (consumer, event_id, pid) VALUES (%s, %s, %s)",
            [consumer_name, event.envelope.event_id, os.getpid()],
        )


@consumer("probe.count", on=[ProbeSent])
def count(event: ProbeSent) -> None:
    leave_effect("probe.count", event)


@consumer("probe.audit", on=[ProbeSent])
def audit(event: ProbeSent) -> None:
    leave_effect("probe.audit", event)


@consumer("trouble.obey", on=[TroubleAsked], retry=Retry(times=2, delays=(1,)), time_limit=15)
def obey(event: TroubleAsked) -> None:
    note_run("trouble.obey", event)
    # The effect comes first: what fails after it must take it back.
    leave_effect("trouble.obey", event)
    match event.how:
        case "succeed":
            return
        case "raise":
            raise ValueError("raised, as asked")
        case "give up":
            raise PermanentFailure("given up, as asked")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise while broken":
            with connection.cursor() as cursor:
                cursor.execute("SELECT EXISTS (SELECT FROM broken)")
                if cursor.fetchone() == (True,):
                    raise ValueError("still broken")
        case "give up while broken":
            with connection.cursor() as cursor:
                cursor.execute("SELECT EXISTS (SELECT FROM broken)")
                if cursor.fetchone() == (True,):
                    raise PermanentFailure("broken for good")
        case "divide by zero":
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        case "break a rule":
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO effect (sequence) VALUES (0)")
        case "wait":
            with connection.cursor() as cursor:
                # However long a run may wait for a lock.
                cursor.execute("SET LOCAL lock_timeout = 0")
                cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [GATE])
        case other:
            raise PermanentFailure(f"Nobody knows how to {other!r}.")


#: A test that holds this advisory lock makes the handler of "wait" wait.
GATE = 4711


@consumer("trouble.watch", on=[TroubleAsked])
def watch(event: TroubleAsked) -> None:
    """A bystander: whatever happens to its neighbour, it handles each event once."""
    leave_effect("trouble.watch", event)


@consumer("trouble.hurry", on=[TroubleAsked], retry=Retry(times=1, delays=(1,)), time_limit=2)
def hurry(event: TroubleAsked) -> None:
    """Too slow for its time limit when the event says so."""
    if event.how == "overrun":
        note_run("trouble.hurry", event)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
    leave_effect("trouble.hurry", event)


@consumer("slow.nap", on=[NapAsked])
def nap(event: NapAsked) -> None:
    """Slow while a test says so."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2) FROM broken WHERE what = 'slow'")


#: A test runs processes of two releases side by side: `before` and `after` a contract has moved on.
if RELEASE:
    change: type[Event] = ChangedOne if RELEASE == "before" else events.Changed

    @consumer("change.follow", on=[change])
    def follow(event: Event) -> None:
        """Leaves what it was told in the place of the id."""
        told = event.model_dump(exclude={"change_id"}).values()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO effect (consumer, event_id, aggregate_id, sequence, pid) VALUES (%s, %s, %s, 1, %s)",
                ["change.follow", event.envelope.event_id, "/".join(told), os.getpid()],
            )


#: A test deploys this consumer when what it listens to has happened for long. Its name says how.
latecomer = os.environ.get("LATECOMER", "")
if latecomer:

    @consumer(
        latecomer,
        on=[PastTold],
        start="now" if latecomer.endswith("from_now") else "beginning",
        ordered=latecomer.endswith("in_order"),
    )
    def remember(event: PastTold) -> None:
        if latecomer.endswith("in_order"):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM effect WHERE consumer = %s AND aggregate_id = %s",
                    [latecomer, event.aggregate_id],
                )
                if cursor.fetchone() != (event.envelope.sequence - 1,):
                    raise PermanentFailure(f"Number {event.envelope.sequence} came out of order.")
        leave_effect(latecomer, event)
