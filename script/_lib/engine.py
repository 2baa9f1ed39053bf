"""A Docker engine of this test's own, for script/compose-test: nothing of it is left when it ends, but its cache.

It runs in a file system of Debian's with namespaces of its own. There it has no way out: what it needs of the network
it gets while it builds, in the machine's own. Base images are not pulled: stand-ins for them are made of the same file
system, with `deploy/tests/images`. Needs root. Standard library only.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from script._lib.local import ROOT
from script._lib.platforms import PLATFORMS, ROOTS, Platform, Unavailable
from script._lib.waiting import comes_true

PLATFORM = Platform(
    "engine",
    "trixie",
    "4.0",
    packages="nginx curl docker.io docker-cli docker-compose docker-buildx iptables tini",
    base=PLATFORMS["debian13"],
)
#: Its images and what building them has fetched. All copies of the project share it, one at a time.
DATA = ROOTS.parent / "docker"
#: What stands in for an image of that name, whatever its tag.
STAND_INS = ROOT / "deploy/tests/images"
CGROUPS = "order-pipeline-engine"
#: What of the machine tells pip where packages are, and whom to trust.
PIP = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
#: Not for images: the engine itself, and what only takes up room.
LEFT_OUT = (
    "/usr/bin/docker*",
    "/usr/sbin/docker*",
    "/usr/bin/containerd*",
    "/usr/libexec/docker",
    "/var/cache",
    "/usr/share/doc",
)


class Engine:
    """Runs while the context lasts. Commands given to it run beside it, where `docker` is, in `folder`."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.folders = (folder, DATA, STAND_INS)
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, *, networked: bool) -> Iterator[None]:
        """networked: with the machine's network and no other, for building; else with its own, and no way out.

        Raises Unavailable.
        """
        network = [] if networked else ["--net"]
        # No proxy for published ports: it takes six files for each connection, and ends when there are no more.
        options = ["--iptables=false", "--bridge=none"] if networked else ["--userland-proxy=false"]
        # It ends with us, and all that it has started with it, however that happens.
        alone = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            *network,
        ]
        dockerd = ["tini", "-s", "--", "dockerd", "--data-root", str(DATA), "--cgroup-parent", f"/{CGROUPS}"]
        loopback = ["sh", "-c", 'ip link set lo up; exec "$@"', "dockerd"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*alone, *network, *PLATFORM.enter(*self.folders), *loopback, *dockerd, *options],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            if not comes_true(lambda: self._answers() or self._process_ended(), 60) or self._process_ended():
                raise Unavailable(f"no Docker engine starts here: read {self.log}")
            yield
        finally:
            self._stop()

    def _answers(self) -> bool:
        return bool(self.inside()) and self.run("docker", "info", quiet=True).returncode == 0

    def _process_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def inside(self) -> str:
        """The process that is the first of its space, as this machine numbers it; empty: not yet there."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return children.read_text().strip() if children.exists() else ""

    def _stop(self) -> None:
        assert self._process is not None
        if (inside := self.inside()) and not self._process_ended():
            subprocess.run(["kill", "-TERM", inside], check=False)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for folder in (*Path("/sys/fs/cgroup").glob(CGROUPS), *Path("/sys/fs/cgroup").glob(f"*/{CGROUPS}")):
            for path in (*sorted(folder.rglob("*/"), reverse=True), folder):
                # One that the kernel is not done with costs nothing, and goes the next time.
                with suppress(OSError):
                    path.rmdir()

    def command(self, *command: str) -> list[str]:
        """The command line that runs this there."""
        inside = self.inside()
        return ["nsenter", "--target", inside, "--mount", "--pid", "--net", f"--wdns={self.folder}", "--", *command]

    def run(self, *command: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Run it and see how it ended."""
        out = subprocess.DEVNULL if quiet else None
        return subprocess.run(self.command(*command), env=environment(), stdout=out, stderr=out, text=True, check=False)

    def must(self, *command: str) -> None:
        """Run it. Raises Unavailable if it fails."""
        if self.run(*command).returncode:
            raise Unavailable(f"`{' '.join(command)}` failed: the lines above say why.")


def environment() -> dict[str, str]:
    """Nothing of the machine's own Docker settings, nor of this project's."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/tmp", "LC_ALL": "C.UTF-8"}  # noqa: S108  a file system of its own


def make_stand_ins(engine: Engine, images: list[str]) -> None:
    """What stands in for each of these images that is not there yet. Raises Unavailable."""
    base = "order-pipeline-debian"
    if engine.run("docker", "image", "inspect", base, quiet=True).returncode:
        print(f"compose-test: base images are made in {DATA}: minutes, once", flush=True)
        leave_out = " ".join(f"--exclude=.{path}" for path in (*LEFT_OUT, *engine.folders))
        engine.must("sh", "-c", f"tar -C / --one-file-system {leave_out} -c . | docker import - {base}")
    build = ["docker", "build", "--quiet", "--network", "host", f"--build-context=machine={engine.folder}/machine"]
    for image in images:
        target = image.partition(":")[0]
        engine.must(*build, "--target", target, "--tag", image, str(STAND_INS))


@contextmanager
def alone() -> Iterator[None]:
    """One at a time: the images are shared."""
    DATA.mkdir(parents=True, exist_ok=True)
    with (DATA.parent / "docker.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("compose-test: another one runs on this machine, waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
