"""Keeps one process of the Procfile running: prints what it says, and starts it again when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from local import ROOT

FIRST_PAUSE = 0.5
# Short enough that nothing waits long for a process that gave up while a server was away.
LONGEST_PAUSE = 10.0


class Keeper(threading.Thread):
    """Runs a command until `stopping` is set."""

    def __init__(
        self,
        name: str,
        command: str,
        *,
        env: dict[str, str],
        say: Callable[[str, bytes | str], None],
        stopping: threading.Event,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.command, self.env, self.say, self.stopping = command, env, say, stopping
        self.process: subprocess.Popen[bytes] | None = None
        # Held while the process comes or goes, so that a signal reaches exactly ours, and none starts after the stop.
        self.changing = threading.Lock()

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            began = time.monotonic()
            code = self.run_once()
            if self.stopping.is_set():
                return
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            self.say(self.name, f"ended with code {code}, starts again in {pause:g} s")
            self.stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def run_once(self) -> int | None:
        with self.changing:
            if self.stopping.is_set():
                return None
            # A session of its own: Ctrl-C reaches only us. The death signal: kill -9 of us leaves nothing behind.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "sh", "-c", f"exec {self.command}"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        listener = threading.Thread(target=self.listen, args=(self.process,), daemon=True)
        listener.start()
        # Its children must not outlive it: a killed worker's pool would hold deliveries and connections.
        # Not reaped before that, so that the number of the group is still its own.
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        os.killpg(self.process.pid, signal.SIGKILL)
        with self.changing:
            code = self.process.wait()
        listener.join()
        return code

    def listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.say(self.name, line)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process (SIGKILL: to its children too); nothing if it has ended."""
        with self.changing:
            if self.process is None or self.process.returncode is not None:
                return
            if number is signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                os.kill(self.process.pid, number)
