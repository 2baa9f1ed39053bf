"""System checks: what `manage.py check` can tell of the bus without a broker."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from eventbus import failpoints


@register()
def failpoints_are_for_tests(**_: Any) -> list[CheckMessage]:
    """A process with a failpoint kills itself; outside the tests nobody wants that."""
    if failpoints.ACTIVE and not settings.FAILPOINTS_ALLOWED:
        return [
            Error("FAILPOINT is set, and only test settings allow it.", hint="Unset FAILPOINT.", id="eventbus.E001")
        ]
    if failpoints.ACTIVE and failpoints.ACTIVE not in failpoints.NAMES:
        known = ", ".join(sorted(failpoints.NAMES))
        return [Error(f"There is no failpoint {failpoints.ACTIVE!r}.", hint=f"Known: {known}.", id="eventbus.E002")]
    return []
