"""What operators are warned of."""

from datetime import timedelta

from django.db.models import F, Min, Q
from django.db.models.functions import Now

from eventbus import Observation, alarm_rule, database_time
from webhooks.models import Delivery, DeliveryState, State, Webhook

#: Long enough that somebody has told the partner. Without an end one that nobody wants would fire for ever.
RECENT = timedelta(days=7)


@alarm_rule(
    "webhooks_disabled",
    "webhooks that were disabled in the last seven days: their address is gone, or takes nothing any more",
    threshold=1,
    advice="Look at Webhooks in admin, filter by state: it says why. Tell the partner, who resumes it and recovers "
    "what it missed (docs/webhooks.md).",
)
def webhooks_disabled(seen: Observation) -> dict[str, float]:
    disabled = Webhook.objects.filter(state=State.DISABLED, disabled_at__gte=Now() - RECENT)
    return {str(webhook_id): 1.0 for webhook_id in disabled.values_list("pk", flat=True)}


@alarm_rule(
    "webhooks_late",
    "seconds that a delivery has been due to a webhook that takes what it is sent",
    threshold=300,
    clear=60,
    evaluations=2,
    advice="Is the process deliver_webhooks running, and does it keep up? Start another one beside it. If "
    "Deliveries in admin are late for one partner alone, it answers slowly or recovers much, and waits for itself.",
)
def webhooks_late(seen: Observation) -> dict[str, float]:
    healthy = Q(webhook__state=State.ACTIVE, webhook__owner__is_active=True, webhook__failures=0)
    waiting = Delivery.objects.filter(healthy, state=DeliveryState.WAITING, due_at__lte=Now())
    oldest = waiting.aggregate(oldest=Min(F("due_at")))["oldest"]
    return {"": 0.0 if oldest is None else (database_time() - oldest).total_seconds()}
