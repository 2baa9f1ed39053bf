"""The relay's publisher."""

from collections.abc import Sequence

from eventbus.broker.publisher import ConfirmingPublisher, Outgoing
from eventbus.metrics.catalogue import CONFIRMED, REFUSED


class CountingPublisher(ConfirmingPublisher):
    """Counts what the broker took, and what it did not take."""

    def send(self, window: Sequence[Outgoing]) -> set[int]:
        confirmed = super().send(window)
        CONFIRMED.add(len(confirmed))
        REFUSED.add(len(window) - len(confirmed))
        return confirmed
