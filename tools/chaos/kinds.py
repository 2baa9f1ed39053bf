"""What a fault is, and how its kinds are declared: each a function that hurts something, and makes it whole again."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tools.chaos.stage import WEB, Stage
from tools.harness.servers import BROKER, POSTGRES
from tools.harness.shop import Shop

#: Without one of these no order gets anywhere.
VITAL = frozenset({WEB, POSTGRES, BROKER})


class NothingToHit(Exception):
    """What the fault was meant for is not there. Says why, where that is not plain."""


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the first order. `seconds` is how long it lasts, `pick` chooses what is still to be chosen."""

    at: float
    action: str
    target: str
    seconds: float
    pick: float

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.0f} s" if self.seconds else ""
        return f"{self.action} {self.target}{lasting}"

    @property
    def is_outage(self) -> bool:
        """Whether it takes away what every order needs."""
        return KINDS[self.action].takes_away and self.target in VITAL


@dataclass
class Scene:
    """Where faults happen."""

    stage: Stage
    shop: Shop
    #: Messages that were published to be refused, by id; whether the broker surely has them.
    poison: dict[str, bool] = field(default_factory=dict)


#: Hurts on entering, which may raise NothingToHit; heals on leaving. Gives the products and orders that it locks.
Harm = AbstractContextManager[Collection[str] | None]
Do = Callable[[Scene, Fault], Harm]


@dataclass(frozen=True)
class Kind:
    """A way to hurt something. `targets` with how often each is chosen; times in seconds."""

    action: str
    targets: Mapping[str, int]
    do: Do
    lasts: tuple[float, float]
    takes_away: bool
    #: So long before the end of a run it has to be over.
    calm: float


KINDS: dict[str, Kind] = {}


def kind(
    action: str,
    targets: Mapping[str, int],
    *,
    lasts: tuple[float, float] = (0, 0),
    takes_away: bool = False,
    calm: float = 0,
) -> Callable[[Do], Do]:
    """Declare a kind of fault: over a function that hurts on entering and heals on leaving."""

    def register(do: Do) -> Do:
        KINDS[action] = Kind(action, targets, do, lasts, takes_away, calm)
        return do

    return register
