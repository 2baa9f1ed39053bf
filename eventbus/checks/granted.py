"""What PostgreSQL and RabbitMQ must grant: `manage.py check --deploy --tag bus` asks them."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.db import DatabaseError, connection
from psycopg import Error as DriverError

from eventbus.checks.deployed import unasked
from eventbus.checks.tags import BUS
from eventbus.conf import bus_settings
from eventbus.db.entries import completed
from eventbus.monitoring import budget
from eventbus.monitoring.budget import Limit

#: Through a transaction pooler we can't say so ourselves.
LIMITS = {"lock_timeout": "20s", "idle_in_transaction_session_timeout": "120s"}


@register(BUS, deploy=True)
def nobody_waits_for_ever_behind_a_pooler(**_: Any) -> list[CheckMessage]:
    """Without a limit of its role, a request waits for a locked row until whoever locked it is done."""
    if bus_settings.POOLED_DATABASE is None:
        return []
    wrapper = connection.copy()
    wrapper.settings_dict.update(completed(bus_settings.POOLED_DATABASE))
    try:
        with closing(wrapper.get_new_connection(wrapper.get_connection_params())) as session:
            role, *values = session.execute(
                f"SELECT current_user, {', '.join(f'current_setting({name!r})' for name in LIMITS)}"
            ).fetchone()
    except DriverError as error:
        return [unasked("pooler", error)]
    return [
        Warning(
            f"Through the pooler {name} is 0: what waits then waits for ever.",
            hint=f"Say once: ALTER ROLE {role} SET {name} = '{wanted}'; then RECONNECT in the pooler's console.",
            id="eventbus.W106",
        )
        for (name, wanted), value in zip(LIMITS.items(), values, strict=True)
        if value == "0"
    ]


@register(BUS, deploy=True)
def connections_suffice(**_: Any) -> list[CheckMessage]:
    """A process that gets no connection does nothing, and which one that is depends on who started first."""
    has_pooler = bus_settings.POOLED_DATABASE is not None
    try:
        needs = budget.running_needs()
        sessions = {each.kind: each.copies * each.database for each in needs if not (each.is_pooled and has_pooler)}
        found = _too_few("PostgreSQL", sessions, budget.database_limits())
    except DatabaseError as error:
        return [unasked("database", error)]
    try:
        by_kind = {each.kind: each.copies * each.broker for each in needs}
        return found + _too_few("RabbitMQ", by_kind, budget.broker_limits())
    except (OSError, ValueError) as error:
        return [*found, unasked("broker's management API", error)]


def _too_few(server: str, needs: Mapping[str, int], limits: Iterable[Limit]) -> list[CheckMessage]:
    needed = sum(needs.values())
    asked = ", ".join(f"{kind} {number}" for kind, number in sorted(needs.items()) if number)
    return [
        Error(
            f"The processes may open {needed} connections to {server} ({asked}), which grants {limit.number}: "
            f"{limit.by}.",
            hint="Raise that limit, or lower WEB_PROCESSES, WEB_THREADS or WORKER_PROCESSES: see docs/deploy.md.",
            id="eventbus.E019",
        )
        for limit in limits
        if limit.number < needed
    ]
