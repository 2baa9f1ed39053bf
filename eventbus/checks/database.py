"""What PostgreSQL itself must grant: `manage.py check --deploy --tag bus` asks it."""

from contextlib import closing
from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.db import connection, connections
from psycopg import Error as DriverError

from eventbus.checks.deployed import unasked
from eventbus.checks.tags import BUS
from eventbus.conf import bus_settings

#: Through a transaction pooler we can't say so ourselves.
LIMITS = {"lock_timeout": "20s", "idle_in_transaction_session_timeout": "120s"}


@register(BUS, deploy=True)
def nobody_waits_for_ever_behind_a_pooler(**_: Any) -> list[CheckMessage]:
    """Without a limit of its role, a request waits for a locked row until whoever locked it is done."""
    if bus_settings.POOLED_DATABASE is None:
        return []
    wrapper = connection.copy()
    wrapper.settings_dict.update(connections.configure_settings({"default": bus_settings.POOLED_DATABASE})["default"])
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
