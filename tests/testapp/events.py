"""What the tests publish."""

import os
from decimal import Decimal
from uuid import UUID

from eventbus import Event, downcast, upcast


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


class ChangedOne(Event, type="change.made", version="1.0", aggregate="change_id"):
    """A contract that moves on. The release before it does so knows this version alone."""

    change_id: UUID
    name: str


RELEASE = os.environ.get("RELEASE", "")
if RELEASE != "before":

    class Changed(Event, type="change.made", version="2.0", aggregate="change_id"):
        """The same, with what 1.0 can't say."""

        change_id: UUID
        first: str
        last: str
        note: str = ""

    @upcast(ChangedOne, Changed)
    def split(old: ChangedOne) -> Changed:
        first, _, last = old.name.partition(" ")
        return Changed(change_id=old.change_id, first=first, last=last)

    @downcast(Changed, ChangedOne)
    def join(new: Changed) -> ChangedOne:
        return ChangedOne(change_id=new.change_id, name=f"{new.first} {new.last}")
