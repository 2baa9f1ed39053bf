"""What operators are warned of."""

from eventbus import Observation, alarm_rule, database_time
from orders.models import Order
from orders.queries import overdue


@alarm_rule(
    "orders_overdue",
    "orders that are still CREATED after ORDER_DEADLINE",
    threshold=1,
    advice="Find what keeps them: relay_missing, outbox_age, worker_missing and event_age say whether the relay, "
    "inventory's worker or orders' own is down or behind. Get it going, and they are answered. Those that could have "
    "been answered and were not, such as by a dead letter, are cancelled by themselves.",
)
def orders_overdue(seen: Observation) -> dict[str, float]:
    return {"": overdue(Order.objects.all(), database_time()).count()}
