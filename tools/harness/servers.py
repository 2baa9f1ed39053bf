"""The private servers, as `script/services` runs them: started, killed, paused and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from threading import Lock

from script._lib import services
from script._lib.local import LOCAL, ROOT, read_env_file
from script._lib.postgres import Postgres
from script._lib.service import has_ended
from script._lib.waiting import wait_until

POSTGRES, BROKER, MAIL = "postgres", "rabbitmq", "mail"
#: Another fault may kill or pause a server while it starts: that is no failure to start.
RESTART_TRIES = 3


class Servers:
    """The servers of LOCAL_DIR, or some of them. Thread-safe."""

    def __init__(self, *names: str) -> None:
        self.services = {name: services.SERVICES[name] for name in names or services.SERVICES}
        self._restarting = {name: Lock() for name in self.services}

    @property
    def env(self) -> dict[str, str]:
        """Their addresses and all else that `script/services` wrote down at their start."""
        return read_env_file(LOCAL / "env")

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block lasts, all of them run; those that ran before go on. Raises RuntimeError if one can't."""
        with services.open_local():
            ran_before = {name for name, service in self.services.items() if service.pid()}
        try:
            with _advice_as_error(), services.open_local():
                services.start(list(self.services))
            yield
        finally:
            for name in ran_before:
                self.resume(name)
            with _advice_as_error(), services.open_local():
                services.stop([name for name in self.services if name not in ran_before])

    def pid(self, name: str) -> int | None:
        """None while it does not run."""
        return self.services[name].pid()

    def kill(self, name: str) -> bool:
        """End it at once, with no chance to say anything; whether it ran."""
        pid = self.pid(name)
        if pid is not None:
            self.services[name].kill(pid)
        return pid is not None

    def stop_at_once(self, name: str = POSTGRES) -> int | None:
        """What `pg_ctl stop -m immediate` does: every session is cut, nothing is written down. Returns the process that
        is about to end; None if it does not run."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
        return pid

    def await_end(self, name: str, pid: int) -> None:
        wait_until(lambda: has_ended(pid), 30, f"the end of {name}")

    def restart(self, name: str) -> None:
        """Start it, if it does not run, and wait until it answers. Raises RuntimeError if it does not."""
        service = self.services[name]
        with self._restarting[name]:
            for tries_left in reversed(range(RESTART_TRIES)):
                try:
                    with _advice_as_error():
                        service.await_ready(service.pid() or service.spawn())
                    return
                except RuntimeError:
                    if not tries_left:
                        raise

    def pause(self, name: str) -> bool:
        """Stop it, with all that belongs to it, in mid-breath; whether it ran."""
        return self._signal_all(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        self._signal_all(name, signal.SIGCONT)

    def _signal_all(self, name: str, number: signal.Signals) -> bool:
        service, pid = self.services[name], self.pid(name)
        if pid is None:
            return False
        # PostgreSQL's children have groups of their own; they bear its name in their titles.
        for each in (pid, *(service.orphans() if isinstance(service, Postgres) else ())):
            signal_if_there(each, number)
        return True


def signal_if_there(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def rabbitmqctl(*arguments: str) -> None:
    """Tell the broker what it can only be told this way. Raises subprocess.CalledProcessError."""
    command = [str(ROOT / "script/services"), "rabbitmqctl", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, start_new_session=True)


@contextmanager
def _advice_as_error() -> Iterator[None]:
    """`script/services` prints advice and ends: here it goes to standard error, and the end is a RuntimeError."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SystemExit as ended:
        raise RuntimeError("a server failed: the line above says which, and why") from ended
