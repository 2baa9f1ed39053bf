"""The pipeline for pages: how it is doing now, and what people do with what waits or was given up."""

from eventbus.pipeline.actions import hurry_retry, replay_letter
from eventbus.pipeline.attention import FIRING_ALARMS, OPEN_DEAD_LETTERS
from eventbus.pipeline.consumers import ConsumerInFull, consumer_in_full, consumer_names
from eventbus.pipeline.now import WINDOWS, ConsumerNow, PipelineNow, pipeline_now

__all__ = [
    "FIRING_ALARMS",
    "OPEN_DEAD_LETTERS",
    "WINDOWS",
    "ConsumerInFull",
    "ConsumerNow",
    "PipelineNow",
    "consumer_in_full",
    "consumer_names",
    "hurry_retry",
    "pipeline_now",
    "replay_letter",
]
