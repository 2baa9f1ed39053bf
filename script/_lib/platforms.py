"""Other releases of Debian, for other versions of what the project stands on: RabbitMQ alone, or all of it.

Each is a folder with the whole file system of that release, made once by debootstrap and kept for every copy of the
project on this machine. Whatever runs there has a mount namespace of its own, so that nothing stays mounted when it
ends, however it ends. Needs root and a Debian mirror. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from script._lib.debian import unpacked
from script._lib.local import LOCAL, ROOT, fail

#: They can be made anew at any time.
ROOTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "order-pipeline/roots"
MIRROR = "http://deb.debian.org/debian"
#: What the product and its tests need of a system: see script/setup.
PACKAGES = (
    "rabbitmq-server postgresql python3-venv ca-certificates iproute2 nftables procps pgbouncer pgbackrest faketime"
)
#: Where a platform says what was installed there.
INSTALLED = "etc/order-pipeline-packages"
GIGABYTE = 2**30


class Unavailable(Exception):
    """A platform can't be had here; says why, and what helps."""


@dataclass(frozen=True)
class Platform:
    """A release of Debian, and the RabbitMQ that it has."""

    name: str
    suite: str
    rabbitmq: str
    packages: str = PACKAGES
    #: One that it is a copy of, to begin with.
    base: Platform | None = None

    @property
    def root(self) -> Path:
        return ROOTS / self.name

    def enter(self, *folders: Path) -> list[str]:
        """What a command line begins with to run there, beside these folders of this machine, one of which it is
        started in. The process stays the same: its id is the command's."""
        return ["unshare", "--mount", str(ROOT / "script/_lib/enter"), str(self.root), *map(str, folders), "--"]

    def make(self) -> None:
        """Make it, if that has not been done: minutes. Raises Unavailable."""
        if os.geteuid() != 0:
            raise Unavailable(f"{self.name} is for root alone: it is a file system with a mount namespace.")
        tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise Unavailable(f"mount namespaces are not permitted here: {tried.stderr.strip()}")
        if self._is_complete():
            return
        if self.base:
            self.base.make()
        try:
            ROOTS.mkdir(parents=True, exist_ok=True)
            lock = (ROOTS / "lock").open("w")
        except OSError as error:
            raise Unavailable(f"can't write to {ROOTS} ({error.strerror}): set XDG_CACHE_HOME.") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._is_complete():
                self._make_aside()

    def _is_complete(self) -> bool:
        """Whether it is there, and has what the project needs by now."""
        listed = self.root / INSTALLED
        return listed.exists() and listed.read_text() == self.packages

    def _make_aside(self) -> None:
        """So that a half-made one is never used."""
        if shutil.disk_usage(ROOTS).free < 2 * GIGABYTE:
            raise Unavailable(f"less than 2 GB free for {self.root}: make room, or set XDG_CACHE_HOME.")
        try:
            urllib.request.urlopen(f"{MIRROR}/dists/{self.suite}/InRelease", timeout=30).close()
        except OSError as error:
            raise Unavailable(f"{self.name} is made from {MIRROR}, which can't be reached: {error}.") from None
        print(f"{self.name:<9} is made in {self.root}: a few minutes, once", file=sys.stderr, flush=True)
        new = replace(self, name=f"{self.name}.new")
        outdated = self.root.with_name(f"{self.name}.old")
        for left_over in (new.root, outdated):
            shutil.rmtree(left_over, ignore_errors=True)
        if begun := next((root for root in (self.root, self.base and self.base.root) if root and root.exists()), None):
            self._run("cp", "--archive", "--reflink=auto", str(begun), str(new.root))
        else:
            # In a namespace of its own too: what it mounts goes with it.
            bootstrap = [*_debootstrap(), "--variant=minbase", "--force-check-gpg", self.suite, str(new.root), MIRROR]
            self._run("unshare", "--mount", *bootstrap)
        # A mirror may be some weeks behind the unstable release; it is signed all the same.
        apt = "apt-get -q -y -o Acquire::Check-Valid-Until=false"
        install = f"{apt} update && {apt} install --no-install-recommends {self.packages}"
        # Nothing is started there by installing it.
        off = r"printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d"
        self._run(*new.enter(), "sh", "-c", f"mount -o remount,bind,rw / && {off} && {install} && apt-get clean")
        self._check_version(new)
        (new.root / INSTALLED).write_text(self.packages)
        if self.root.exists():
            self.root.rename(outdated)  # somebody may be at work there
        new.root.rename(self.root)

    def _run(self, *command: str) -> None:
        log = ROOTS / f"{self.name}.log"
        with log.open("ab") as out:
            path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
            env = os.environ | {"PATH": path, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
            done = subprocess.run(
                command, cwd="/", env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
            )
        if done.returncode:
            last = (log.read_text(errors="replace").splitlines() or ["nothing"])[-1]
            raise Unavailable(f"making {self.name} failed: read {log} (it ends with: {last[:200]})")

    def _check_version(self, new: Platform) -> None:
        """Debian's unstable release moves on."""
        (found,) = (path.name.rpartition("-")[2] for path in new.root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
        if not found.startswith(f"{self.rabbitmq}."):
            raise Unavailable(f"{self.name} has RabbitMQ {found} by now, not {self.rabbitmq}: say so in {__file__}.")


def _debootstrap() -> list[str]:
    """The installed one; else one that is only fetched, so that nothing changes on this machine."""
    if installed := shutil.which("debootstrap"):
        return [installed]
    try:
        folder = unpacked("debootstrap", ROOTS / "debootstrap")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        why = str(error.stderr or error).strip()[-200:]
        raise Unavailable(f"debootstrap is missing (apt-get install debootstrap): {why}") from None
    share = folder / "usr/share/debootstrap"
    return ["env", f"DEBOOTSTRAP_DIR={share}", str(folder / "usr/sbin/debootstrap")]


PLATFORMS = {each.name: each for each in (Platform("debian13", "trixie", "4.0"), Platform("sid", "sid", "4.3"))}
BY_RABBITMQ = {each.rabbitmq: each for each in PLATFORMS.values()}


def run(platform: Platform, command: list[str]) -> int:
    """Run a command of this copy of the project there, with data and a .venv of its own; returns its exit code.

    All that it has started ends with it, and it ends with us, however that happens.
    """
    own = LOCAL / platform.name
    (own / "venv").mkdir(parents=True, exist_ok=True)
    # As the first process of a space of its own, without which there are no others in it.
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    instead = ["sh", "-c", 'mount --bind "$0" .venv && exec "$@"', str(own / "venv")]
    inside = subprocess.Popen(
        [*alone, *platform.enter(ROOT, LOCAL), *instead, *command],
        cwd=ROOT,
        env=os.environ | {"LOCAL_DIR": str(own), "HOME": str(own)},
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: inside.kill())
    # From the terminal they hear of it themselves, and stop what they have started.
    signal.signal(signal.SIGINT, lambda *_: None)
    code = inside.wait()
    return code if code >= 0 else 128 - code


def main() -> None:
    parser = argparse.ArgumentParser(prog="platforms", description="Run a command of this project on a platform.")
    parser.add_argument("platform", choices=PLATFORMS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    platform = PLATFORMS[arguments.platform]
    try:
        platform.make()
    except Unavailable as error:
        fail(str(error))
    sys.exit(run(platform, arguments.command))


if __name__ == "__main__":
    main()
