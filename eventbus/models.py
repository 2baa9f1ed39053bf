"""Django looks for an app's models here; each is defined beside the part that it belongs to."""

from eventbus.archive.models import ArchivedEvent, ExactDecoder, PrunedMonth, StreamCut
from eventbus.dead_letters.models import (
    DeadLetter,
    DeadLetterEdit,
    DeadLetterGroup,
    DeadLetterHour,
    DeadLetterReplay,
    DeadLetterReplayItem,
)
from eventbus.heartbeats.models import Heartbeat
from eventbus.metrics.models import Total
from eventbus.monitoring.models import Alarm, AlarmChange, AlarmEvaluation, AlarmNotice, Sample, Sampling
from eventbus.recording.models import Stream
from eventbus.relay.models import LostQueue, Outbox, RefusedDelivery
from eventbus.replays.models import ArchiveReplay
from eventbus.restores.models import BaseBackup, Reconciliation
from eventbus.retries.models import WaitingRetry
from eventbus.subscriptions.models import Subscription
from eventbus.worker.models import OrderedPosition, ProcessedEvent, ProcessedEventRow

__all__ = [
    "Alarm",
    "AlarmChange",
    "AlarmEvaluation",
    "AlarmNotice",
    "ArchiveReplay",
    "ArchivedEvent",
    "BaseBackup",
    "DeadLetter",
    "DeadLetterEdit",
    "DeadLetterGroup",
    "DeadLetterHour",
    "DeadLetterReplay",
    "DeadLetterReplayItem",
    "ExactDecoder",
    "Heartbeat",
    "LostQueue",
    "OrderedPosition",
    "Outbox",
    "ProcessedEvent",
    "ProcessedEventRow",
    "PrunedMonth",
    "Reconciliation",
    "RefusedDelivery",
    "Sample",
    "Sampling",
    "Stream",
    "StreamCut",
    "Subscription",
    "Total",
    "WaitingRetry",
]
