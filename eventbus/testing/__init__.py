"""Helpers for tests of contracts and consumers: the real inbox path on a real database, without a broker."""

from eventbus.testing.bus import (
    deliver,
    delivered,
    empty_bus,
    from_archive,
    on_the_wire,
    prune_this_month,
    published,
)

__all__ = ["deliver", "delivered", "empty_bus", "from_archive", "on_the_wire", "prune_this_month", "published"]
