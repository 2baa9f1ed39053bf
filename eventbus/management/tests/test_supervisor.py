import threading

from structlog.testing import capture_logs

from eventbus.management.supervisor import Part, Supervisor
from eventbus.testing import wait_until


class Loop:
    """Runs until it is stopped, or breaks at once."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.began, self.stopping = threading.Event(), threading.Event()

    def run(self) -> None:
        self.began.set()
        if self.breaks:
            raise ValueError("broken")
        self.stopping.wait()

    def as_part(self, name: str) -> Part:
        return Part(name, self.run, self.stopping.set)


def test_where_one_part_breaks_the_others_are_stopped_and_it_is_named() -> None:
    good, bad = Loop(), Loop(breaks=True)
    with capture_logs() as said:
        assert Supervisor(good.as_part("good"), bad.as_part("bad")).run() == ["bad"]
    assert good.stopping.is_set()
    assert [(line["part"], str(line["exc_info"])) for line in said] == [("bad", "broken")]


def test_a_part_that_just_returns_ends_all_too() -> None:
    good = Loop()
    assert Supervisor(good.as_part("good"), Part("short", lambda: None, lambda: None)).run() == ["short"]


def test_stopping_is_nobodys_fault() -> None:
    parts = [Loop(), Loop()]
    supervisor = Supervisor(*(part.as_part("loop") for part in parts))
    ended: list[list[str]] = []
    running = threading.Thread(target=lambda: ended.append(supervisor.run()))
    running.start()
    wait_until(lambda: all(part.began.is_set() for part in parts), 10, "both to run")
    supervisor.stop()
    running.join(10)
    assert ended == [[]]
