"""The advisory locks of the bus. Alone in their database they must not meet: each number stands here, once."""

from enum import IntEnum


class AdvisoryLock(IntEnum):
    """The key of a lock, or its first key where the second is the hash of a name."""

    #: An idle relay has it; whoever records an event and finds it taken wakes the relay. See `relay.relay`.
    IDLE_RELAY = 0x0B05
    #: With a routing key: one relay at a time tries a key that was refused.
    BLOCKED_KEY = 0x0B06
    #: Two prunings at once would keep each other from dropping what both have closed.
    PRUNING = 0x0B08
    #: With a consumer: its runs share it, and a rebuild takes it alone for a moment. See `worker.pause`.
    PROJECTION_PAUSE = 0x0B16
    #: With a consumer: one rebuild of it at a time.
    REBUILD = 0x0B17
    #: Two evaluations of the alarms at once would count one moment twice.
    ALARM_EVALUATION = 0x0A1A
