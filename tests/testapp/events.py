"""What the tests publish."""

from decimal import Decimal
from uuid import UUID

from eventbus import Event


class ProbeSent(Event, type="probe.sent", version="1.0", aggregate="probe_id"):
    """Something to be counted."""

    probe_id: UUID
    amount: Decimal = Decimal("0.10")


class TroubleAsked(Event, type="trouble.asked", version="1.0", aggregate="trouble_id"):
    """`how` says what `trouble.obey` does when it handles this."""

    trouble_id: UUID
    how: str


class NobodyCares(Event, type="nobody.cares", version="1.0", aggregate="nobody_id"):
    """No consumer listens to it."""

    nobody_id: UUID


class PastTold(Event, type="past.told", version="1.0", aggregate="past_id"):
    """Something that happened before anybody listened."""

    past_id: UUID


class NapAsked(Event, type="nap.asked", version="1.0", aggregate="nap_id"):
    """Something that takes its time."""

    nap_id: UUID
