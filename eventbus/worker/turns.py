"""What a pool process may still begin with of a run of outside effects, which go one after the other.

One that takes long holds up those behind it, and only the process knows where it is. So each but the first is a turn, a
byte in a pipe: the process takes one before it begins with the next, and after a while the worker takes back all that
are left, for whoever is free. The kernel gives each byte to one of the two, whatever happens to either meanwhile.
"""

import os
from typing import Any


class Turns:
    """The pipes of one worker. They are made before its pool processes, which inherit them."""

    def __init__(self) -> None:
        self._pipes: list[tuple[int, int]] = []
        self._owners: list[Any] = []

    def open(self, runs: int) -> None:
        """Make pipes for so many runs at once. Once they are made, they stay."""
        while len(self._pipes) < runs:
            self._pipes.append(os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
            self._owners.append(None)

    def lend(self, owner: Any, number: int) -> int | None:
        """Give a run so many turns; returns its pipe. None where all pipes are lent: then nothing can be taken back."""
        for pipe, lent_to in enumerate(self._owners):
            if lent_to is None:
                self._owners[pipe] = owner
                self._left(pipe)
                os.write(self._pipes[pipe][1], bytes(number))
                return pipe
        return None

    def take(self, pipe: int) -> bool:
        """In the pool process: whether it may begin with the next event."""
        try:
            return bool(os.read(self._pipes[pipe][0], 1))
        except BlockingIOError:
            return False

    def take_back(self, owner: Any) -> int:
        """How many of a run's last events were not begun; now they won't be. 0 for one that is over."""
        return sum(self._left(pipe) for pipe, lent_to in enumerate(self._owners) if lent_to is owner)

    def end(self, owner: Any) -> None:
        """A run is over."""
        self._owners = [None if lent_to is owner else lent_to for lent_to in self._owners]

    def end_all(self) -> None:
        """All runs are over, or nobody waits for them any more. One that is still at work may take a turn of the next:
        that one stops before its end, and what it lacks goes with another."""
        self._owners = [None] * len(self._pipes)

    def _left(self, pipe: int) -> int:
        try:
            return len(os.read(self._pipes[pipe][0], 4096))
        except BlockingIOError:
            return 0


#: Of this worker and its pool processes.
turns = Turns()
