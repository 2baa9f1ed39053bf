"""What `manage.py check` says of the versions in which events are recorded."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from eventbus.conf import bus_settings
from eventbus.contracts.casting import can_cast, majors


@register()
def held_versions_can_be_recorded(**_: Any) -> list[CheckMessage]:
    """A slip in RECORD_AS would be noticed only with the first event."""
    found: list[CheckMessage] = []
    for event_type, held in bus_settings.RECORD_AS.items():
        known = majors(event_type)
        if str(held) not in known or not can_cast(event_type, known[-1], str(held)):
            says = f"known: {', '.join(known)}" if known else "no such event"
            found.append(
                Error(
                    f"RECORD_AS has {event_type}={held}, in which it can't be recorded ({says}).",
                    hint="Give a major version that the newest has a @downcast to: see docs/contracts.md.",
                    id="eventbus.E032",
                )
            )
    return found
