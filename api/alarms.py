"""What operators are warned of."""

from api.buckets import empty_buckets
from api.lockout import LOGIN, ONE_FROM_ONE, TOKEN, WRONG_TOKENS
from eventbus import Observation, alarm_rule


@alarm_rule(
    "locked_out",
    "accounts and addresses that are locked out, after too many wrong passwords or tokens",
    threshold=1,
    advice="The log has the addresses (login.locked_out, token.locked_out). Tell a partner whose token is old; keep a "
    "stranger out at the gateway. Each lock ends by itself, after some minutes without another try.",
)
def locked_out(seen: Observation) -> dict[str, float]:
    return {
        "passwords": empty_buckets(f"{LOGIN}:", ONE_FROM_ONE),
        "tokens": empty_buckets(f"{TOKEN}:", WRONG_TOKENS),
    }
