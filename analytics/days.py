"""Days as the shop counts them: by SHOP_TIME_ZONE, whatever the servers' clocks show.

The read models hold what was counted by it: after a change they are built again.
"""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings

from eventbus import database_time


def zone() -> ZoneInfo:
    """The shop's time zone."""
    found: ZoneInfo = settings.SHOP_TIME_ZONE
    return found


def day_of(moment: datetime) -> date:
    """The day on which something happened."""
    return moment.astimezone(zone()).date()


def today() -> date:
    """The day that it is in the shop."""
    return day_of(database_time())


def begin_of(day: date) -> datetime:
    """The moment at which a day begins: days have 23 or 25 hours where clocks are changed."""
    return datetime.combine(day, time(), zone())
