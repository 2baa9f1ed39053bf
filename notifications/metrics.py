"""What is measured of mails. Those that were sent are counted as events: `notification.sent`."""

from collections.abc import Mapping

from django.db.models import Count

from eventbus import gauge
from notifications.models import Mail, State


@gauge("mails_not_sent", "Mails by their state: those that wait, those in doubt, and those that were refused.", "state")
def mails_not_sent() -> Mapping[str, float]:
    found = Mail.objects.exclude(state=State.SENT).order_by().values_list("state").annotate(Count("pk"))
    others = [state for state in State.values if state != State.SENT]
    return dict.fromkeys(others, 0.0) | {state: float(number) for state, number in found}
