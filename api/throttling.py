"""How often each caller may ask, and that the answer says so.

Headers: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

from math import ceil
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from api.buckets import Rate, Shares, Taken
from api.problems import Problem

_shares = Shares()


def rate_of(user: Any) -> Rate | None:
    """How often this caller may ask; None: as often as it likes."""
    own = getattr(user, "rate_limit", None)
    per_second = settings.CHANNEL_RATE_LIMIT if own is None else own
    return Rate(per_second, burst=max(1, ceil(2 * per_second))) if per_second else None


class ChannelThrottle(BaseThrottle):
    """DRF's throttle: a bucket per caller, shared by all processes. Raises a Problem with status 429."""

    def allow_request(self, request: Request, view: Any) -> bool:
        user: Any = request.user
        rate = None if user is None else rate_of(user)
        if rate is None:
            return True
        taken = _shares.take(f"channel:{user.pk}", rate)
        # DRF puts them on whatever answer it gives.
        view.headers.update(headers_of(rate, taken))
        if not taken.granted:
            raise Problem(
                429,
                f"More than {rate.per_second:g} requests a second, and {rate.burst} at once.",
                headers={"Retry-After": str(taken.retry_after)},
            )
        return True


def headers_of(rate: Rate, taken: Taken) -> dict[str, str]:
    """What the caller is told: the quota, the seconds in which it comes back, and what is left of it."""
    back = ceil(rate.seconds_for(rate.burst - taken.left))
    return {
        "RateLimit-Policy": f'"channel";q={rate.burst};w={ceil(rate.seconds_for(rate.burst))}',
        "RateLimit": f'"channel";r={taken.left};t={taken.retry_after or back}',
    }
