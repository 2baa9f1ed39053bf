"""What operators are warned of."""

from datetime import timedelta

from django.db.models import Count
from django.db.models.functions import Now

from eventbus import Observation, alarm_rule
from notifications.models import Mail
from notifications.queries import STUCK

#: A mail is tried for a day, and then somebody has another one to look at it. Without an end one wrong address would
#: fire for ever, and hide the next.
RECENT = timedelta(days=2)


@alarm_rule(
    "mails_stuck",
    "mails of the last two days that were refused for good (FAILED), or of which nobody knows whether they arrived "
    "(UNKNOWN)",
    threshold=1,
    advice="Look at Mails in admin, filter by state: the error says why. Where the cause is repaired, or a second mail "
    "does no harm, select them and send them again.",
)
def mails_stuck(seen: Observation) -> dict[str, float]:
    stuck = Mail.objects.filter(state__in=STUCK, created_at__gte=Now() - RECENT)
    return {state: float(count) for state, count in stuck.order_by().values_list("state").annotate(Count("pk"))}
