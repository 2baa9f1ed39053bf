"""How far back the archive goes."""

from datetime import UTC, datetime, time

from django.db.models import Max

from eventbus.archive.models import PrunedMonth
from eventbus.archive.partitions import month_start


def archive_begins() -> datetime | None:
    """Since when the archive is whole: the end of the last month that was pruned; None where none ever was.

    Of a single aggregate, cut_streams() says up to which number its events are gone.
    """
    last = PrunedMonth.objects.aggregate(last=Max("month"))["last"]
    return month_start(datetime.combine(last, time(), UTC), 1) if last else None
