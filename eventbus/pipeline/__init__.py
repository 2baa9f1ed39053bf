"""The pipeline for pages and scrapers: how it is doing now, and what people do with what waits or was given up."""

from eventbus.dead_letters.dry_run import DryRunRefused
from eventbus.monitoring.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from eventbus.monitoring.metrics import exposition as metrics
from eventbus.pipeline.actions import hurry_retry, replay_letter
from eventbus.pipeline.alarms import LOOK_BACK, AlarmNow, alarms_now
from eventbus.pipeline.attention import FIRING_ALARMS, OPEN_DEAD_LETTERS
from eventbus.pipeline.consumers import ConsumerInFull, consumer_in_full, consumer_names
from eventbus.pipeline.letters import (
    STATES,
    GroupInFull,
    LetterGroup,
    discard_group,
    letter_group,
    letter_groups,
    reopen_group,
    replay_group,
    resolve_group,
    try_group,
)
from eventbus.pipeline.now import WINDOWS, ConsumerNow, PipelineNow, pipeline_now

__all__ = [
    "FIRING_ALARMS",
    "LOOK_BACK",
    "METRICS_CONTENT_TYPE",
    "OPEN_DEAD_LETTERS",
    "STATES",
    "WINDOWS",
    "AlarmNow",
    "ConsumerInFull",
    "ConsumerNow",
    "DryRunRefused",
    "GroupInFull",
    "LetterGroup",
    "PipelineNow",
    "alarms_now",
    "consumer_in_full",
    "consumer_names",
    "discard_group",
    "hurry_retry",
    "letter_group",
    "letter_groups",
    "metrics",
    "pipeline_now",
    "reopen_group",
    "replay_group",
    "replay_letter",
    "resolve_group",
    "try_group",
]
