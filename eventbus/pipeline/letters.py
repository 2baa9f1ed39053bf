"""Dead letters as work: what failed alike, what it means, what helps, and doing it to a whole group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet

from eventbus.dead_letters import queries, services
from eventbus.dead_letters.dry_run import DryRun, dry_run
from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup, DeadLetterState, GroupState
from eventbus.dead_letters.replays import start_replay
from eventbus.dead_letters.selection import Selection
from eventbus.declaration import CONSUMERS
from eventbus.errors import Reason

#: Groups of a list, and letters of a group, at most; and how many are tried at once.
GROUPS, LETTERS, TRIED = 100, 10, 10

_CALLED = "it failed on every attempt, or for longer than its consumer waits", "fix the code or what it calls; replay"
_SENT = (
    "a producer sent what is not one of our events, or another event under an id that was handled",
    "talk to the producer; edit and replay, or discard",
)
_AHEAD = "a producer is ahead of this code, or chose the wrong queue", "deploy; replay"
_BROKER = "the broker gave it up: a policy, or somebody rejected it", "check the policies; replay"
#: By reason what it means, and what usually helps.
ADVICE: Mapping[str, tuple[str, str]] = {
    Reason.EXHAUSTED: _CALLED,
    Reason.EXPIRED: _CALLED,
    Reason.PERMANENT: (
        "the handler said that trying again can't help, or the database refused the data",
        "fix the data or the rule; edit and replay, or discard",
    ),
    Reason.KILLS_ITS_WORKER: (
        "its runs ended without a word: memory, a crash, a kill",
        "look at the worker's log at that time; replay one",
    ),
    Reason.NOT_JSON: _SENT,
    Reason.TOO_LARGE: _SENT,
    Reason.INVALID_ENVELOPE: _SENT,
    Reason.INVALID_DATA: _SENT,
    Reason.UNKNOWN_TYPE: _AHEAD,
    Reason.UNKNOWN_VERSION: _AHEAD,
    Reason.NOT_SUBSCRIBED: _AHEAD,
    Reason.EXPIRED_IN_QUEUE: _BROKER,
    Reason.QUEUE_FULL: _BROKER,
    Reason.REJECTED: _BROKER,
    Reason.CANCELLED: ("somebody gave up a retry that waited", "read its last error; replay, or discard"),
    Reason.UNKNOWN: (
        "it came to the dead-letter queue without saying why",
        "look at its headers; replay one, or discard",
    ),
}
STATES = ("open", "regressed", "resolved", "all")


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """What failed alike. `opened` counts up to a limit; `days` has the letters of each of the last 14 days."""

    row: DeadLetterGroup
    opened: int
    days: Sequence[int]

    @property
    def error(self) -> str:
        """The error's class, without its module."""
        return self.row.error_class.rsplit(".", 1)[-1]

    @property
    def has_side_effects(self) -> bool:
        """Whether its consumer reaches outside the database, as by mail: what it does can't be undone."""
        consumer = CONSUMERS.get(self.row.consumer)
        return consumer is not None and consumer.side_effects


@dataclass(frozen=True, slots=True)
class GroupInFull:
    """A group with its latest letters, the open ones first, and by reason what it means and what helps."""

    group: LetterGroup
    letters: Sequence[DeadLetter]
    advice: Sequence[tuple[str, str, str]]


def letter_groups(state: str = "open", consumer: str = "") -> list[LetterGroup]:
    """The groups with open letters, those of another state, or all; what failed last comes first."""
    found: QuerySet[DeadLetterGroup] = DeadLetterGroup.objects.order_by("-last_seen")
    if state == "open":
        open_letters = DeadLetter.objects.filter(group=OuterRef("pk"), state=DeadLetterState.OPEN)
        found = found.filter(Exists(open_letters))
    elif state != "all":
        found = found.filter(state=GroupState(state))
    if consumer:
        found = found.filter(consumer=consumer)
    return _counted(list(found[:GROUPS]))


def letter_group(group_id: int) -> GroupInFull | None:
    """One group in full; None where there is none."""
    row = DeadLetterGroup.objects.filter(pk=group_id).first()
    if row is None:
        return None
    letters = list(row.letters.defer("body").order_by("-state", "-pk")[:LETTERS])
    reasons = dict.fromkeys(letter.reason for letter in letters)
    advice = [(reason, *ADVICE.get(reason, ADVICE[Reason.UNKNOWN])) for reason in reasons]
    (group,) = _counted([row])
    return GroupInFull(group, letters, advice)


def _counted(rows: Sequence[DeadLetterGroup]) -> list[LetterGroup]:
    ids = [row.pk for row in rows]
    opened, days = queries.open_letters(ids), queries.per_day(ids)
    return [LetterGroup(row, opened[row.pk], [letters for _, letters in days[row.pk]]) for row in rows]


def try_group(group_id: int) -> list[DryRun]:
    """Run the handler on some of its open letters in transactions that are rolled back. Raises DryRunRefused."""
    letters = DeadLetter.objects.filter(group=group_id, state=DeadLetterState.OPEN).order_by("pk")
    return [dry_run(letter) for letter in letters[:TRIED]]


def replay_group(group: DeadLetterGroup, *, by: str, rate: float | None = None) -> int:
    """Send its open letters to their consumer again: one, then ten, then the rest; returns how many."""
    replay = start_replay(_of(group), by=by, rate=rate)
    return replay.total if replay else 0


def discard_group(group: DeadLetterGroup, *, reason: str, by: str) -> int:
    """Give its open letters up for good; returns how many. Raises ValueError without a reason."""
    return services.discard(_of(group), reason=reason, by=by)


def resolve_group(group: DeadLetterGroup, *, note: str, by: str) -> bool:
    """Note that the cause is gone, and what was said about it. The next letter makes it regressed."""
    if note != group.note:
        DeadLetterGroup.objects.filter(pk=group.pk).update(note=note)
    return services.resolve_group(group, by=by)


def reopen_group(group: DeadLetterGroup) -> bool:
    """Take a resolution back."""
    return services.reopen_group(group)


def _of(group: DeadLetterGroup) -> Selection:
    return Selection(groups=[group.fingerprint])
