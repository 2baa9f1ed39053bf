"""The view of `tools.benchmarks.rebuild` as the library `eventsourcing` projects it: its documented way, on PostgreSQL.

Its events carry the same order, as plain JSON values: nothing of it is transcoded.
"""

from datetime import datetime
from decimal import Decimal
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import connection
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

AT_ONCE = 500


class PeerOrder(Aggregate):
    class Placed(Aggregate.Created):
        order: dict[str, Any]

    @event(Placed)
    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order


class PeerOrders(Application[UUID]):
    pass


class PeerSales(PostgresTrackingRecorder):
    """The view's table. The row and the position change in one transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        table = SQL("{0}.{1}").format(Identifier(self.datastore.schema), Identifier("peer_sales"))
        create = "CREATE TABLE IF NOT EXISTS {0} (day date PRIMARY KEY, orders int NOT NULL, revenue numeric NOT NULL)"
        self.sql_create_statements.append(SQL(create).format(table))
        self.add_statement = SQL(
            "INSERT INTO {0} AS known VALUES (%s, 1, %s) ON CONFLICT (day) DO UPDATE "
            "SET orders = known.orders + 1, revenue = known.revenue + EXCLUDED.revenue"
        ).format(table)

    def add(self, placed_at: datetime, amount: Decimal, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(self.add_statement, [placed_at.date(), amount], prepare=True)
            self._insert_tracking(cursor, tracking)


class PeerProjection(Projection[PeerSales]):
    name = "peersales"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise TypeError(f"Nobody knows what to do with {domain_event!r}.")

    @process_event.register
    def _(self, domain_event: PeerOrder.Placed, tracking: Tracking) -> None:
        order = domain_event.order
        self.view.add(datetime.fromisoformat(order["createdAt"]), Decimal(order["totalAmount"]), tracking)


def environment() -> dict[str, str]:
    known = connection.get_connection_params()
    names = {"DBNAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    return {"PERSISTENCE_MODULE": "eventsourcing.postgres"} | {
        f"POSTGRES_{name}": str(known[key]) for name, key in names.items()
    }


def record(orders: list[dict[str, Any]]) -> None:
    """Store one event for each of the orders."""
    with PeerOrders(environment()) as app:
        for start in range(0, len(orders), AT_ONCE):
            app.save(*(PeerOrder(order) for order in orders[start : start + AT_ONCE]))


def project(count: int) -> float:
    """Build the view from nothing; returns events per second."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS peer_sales, peersales_tracking")
    began = monotonic()
    with ProjectionRunner(
        application_class=PeerOrders, projection_class=PeerProjection, view_class=PeerSales, env=environment()
    ) as runner:
        runner.wait(runner.app.recorder.max_notification_id(), timeout=600)
        return count / (monotonic() - began)
