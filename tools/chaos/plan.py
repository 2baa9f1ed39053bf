"""Which faults strike when: a sequence that follows from the seed alone."""

import random
from collections.abc import Collection

from tools.chaos.kinds import KINDS, Fault, Kind
from tools.harness.servers import BROKER, MAIL, POSTGRES

EVERY = 3.0
#: A server that was hit needs a while to come back: it is left alone so long, or orders would never flow. A mail that
#: was refused four times waits for a minute and more, longer than the product has for draining.
REST = {BROKER: 24.0, POSTGRES: 24.0, MAIL: 45.0}


def plan(seed: int, minutes: float, actions: Collection[str] = ()) -> list[Fault]:
    """A fault every three seconds: of every kind, or of these. The same for the same seed."""
    dice = random.Random(f"{seed} faults")
    kinds = [kind for action, kind in KINDS.items() if not actions or action in actions]
    end = minutes * 60
    #: Until when a target rests from everything, and from a fault that goes on.
    rests: dict[str | tuple[str, str], float] = {}
    faults: list[Fault] = []
    for number in range(1, int(end / EVERY)):
        at = number * EVERY
        free = [
            (kind, target, weight)
            for kind in kinds
            for target, weight in kind.targets.items()
            if at + kind.lasts[0] + kind.calm <= end
            and max(rests.get(target, 0), rests.get((kind.action, target), 0)) <= at
        ]
        if not free:
            continue
        kind, target, _ = dice.choices(free, [weight for *_, weight in free])[0]
        seconds = _duration(kind, dice.random(), end - at)
        faults.append(Fault(at, kind.action, target, seconds, dice.random()))
        rests[kind.action, target] = at + seconds
        if target in REST:
            rests[target] = at + seconds + REST[target]
    return faults


def _duration(kind: Kind, share: float, left: float) -> float:
    shortest, longest = kind.lasts
    longest = max(shortest, min(longest, left - kind.calm)) if kind.calm else longest
    return round(shortest + share * (longest - shortest), 1)
