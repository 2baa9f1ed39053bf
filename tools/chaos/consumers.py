"""A consumer that does nothing by itself against repeats. The product's own would hide much: they are idempotent twice,
by the inbox and by their rows."""

from django.db import connection

from eventbus import Event, Retry, consumer
from orders.events import OrderConfirmed, OrderCreated, OrderRejected


class TallyIsBroken(Exception):
    """A trial wants the handler to fail."""


@consumer("chaos.tally", on=[OrderCreated, OrderConfirmed, OrderRejected], retry=Retry(times=20, delays=(10,)))
def tally(event: Event) -> None:
    """One row for each time that the event had its effect."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM chaos_broken)")
        if cursor.fetchone() == (True,):
            raise TallyIsBroken("The trial said so.")
        cursor.execute("INSERT INTO chaos_tally (event_id) VALUES (%s)", [event.envelope.event_id])
