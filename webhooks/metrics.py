"""What is measured of webhooks. Attempts are counted where they are made: `webhooks.delivering`."""

from eventbus import counter, gauge, histogram
from webhooks.calling import Outcome
from webhooks.models import Delivery, DeliveryState, State, Webhook

ATTEMPTS = counter(
    "webhook_attempts_total",
    "POSTs to webhooks: delivered, refused by an answer that is not 2xx, or without an answer.",
    "outcome",
)
SECONDS = histogram("webhook_attempt_seconds", "An attempt, from the look-up of the name to the answer or the failure.")


def count_attempt(outcome: Outcome) -> None:
    """Costs no statement."""
    answered = "delivered" if outcome.is_delivered else "refused"
    ATTEMPTS.add(1, "unanswered" if outcome.status is None else answered)
    SECONDS.observe(outcome.milliseconds / 1000)


@gauge("webhook_deliveries_waiting", "Deliveries to active webhooks that wait for an attempt, or for its end.")
def webhook_deliveries_waiting() -> dict[str, float]:
    served = {"webhook__state": State.ACTIVE, "webhook__owner__is_active": True}
    waiting = Delivery.objects.filter(state=DeliveryState.WAITING, **served)
    return {"": float(waiting.count())}


@gauge("webhooks_disabled", "Webhooks that we disabled, and that nobody has resumed.")
def webhooks_disabled() -> dict[str, float]:
    return {"": float(Webhook.objects.filter(state=State.DISABLED).count())}
