"""Runs the stack of docker-compose.yml on an engine of its own, and `deploy/tests` on it. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from script._lib.engine import DATA, PIP, PLATFORM, Engine, alone, make_stand_ins
from script._lib.local import LOCAL, PYTHON, ROOT, fail
from script._lib.platforms import Unavailable

HOME = LOCAL / "compose"
#: A copy, so that nobody's .env and secrets are touched.
PROJECT = HOME / "project"
NOT_OURS = (".git", ".venv", ".local", ".env", "secrets", "staticfiles", "__pycache__", ".*_cache", ".hypothesis")
#: What script/test calls skipped.
SKIPPED = 77
GIGABYTE = 2**30


def copy_project() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(ROOT, PROJECT, ignore=shutil.ignore_patterns(*NOT_OURS), symlinks=True)
    for file in map(Path, PIP):
        if file.exists():
            kept = PROJECT / "machine" / file.relative_to("/")
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, kept)
    (PROJECT / "machine").mkdir(exist_ok=True)
    subprocess.run([PROJECT / "deploy/make-secrets"], check=True)


def images() -> list[str]:
    """The base images that Dockerfile and docker-compose.yml name, but for what watches the stack: that is not run."""
    named = re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.M)
    compose = (PROJECT / "docker-compose.yml").read_text()
    named += re.findall(r"(?<!profiles: \[monitoring\]\n)^ +image: (\S+:\S+)$", compose, re.M)
    return sorted(set(named))


def build(engine: Engine) -> None:
    """All images, by the project's own Dockerfile and compose file, with the machine's network."""
    with engine.running(networked=True):
        make_stand_ins(engine, images())
        networked = ", ".join(f"{built}: {{build: {{network: host}}}}" for built in ("migrate", "postgres"))
        (PROJECT / "network.yml").write_text(f"services: {{{networked}}}\n")
        files = [f"--file={name}" for name in ("docker-compose.yml", "deploy/compose.backup.yml", "network.yml")]
        compose = ["docker", "compose", *files, "--progress", "plain"]
        if engine.run("env", "CODE_VERSION=compose-test", *compose, "build").returncode:
            fail("the image can't be built: the lines above say why.")


def test(engine: Engine, arguments: list[str]) -> int:
    """pytest, in the network of the engine, where the published ports are."""
    with engine.running(networked=False):
        inside = engine.inside()
        take_down(engine)  # what a run that was killed has left behind
        try:
            pytest = [str(PYTHON), "-m", "pytest", "-c", "deploy/tests/pytest.ini", *arguments]
            return subprocess.run(
                ["nsenter", "--target", inside, "--net", *pytest],
                cwd=ROOT,
                env=os.environ | {"COMPOSE_PROJECT": str(PROJECT), "COMPOSE_ENGINE": inside},
                check=False,
            ).returncode
        finally:
            take_down(engine)


def take_down(engine: Engine) -> None:
    """Containers, networks and volumes."""
    files = ["--file=docker-compose.yml", "--file=deploy/compose.backup.yml"]
    down = ["down", "--volumes", "--remove-orphans", "--timeout", "5"]
    engine.run("docker", "compose", *files, "--profile", "*", *down, quiet=True)


def main() -> None:
    log = HOME / "engine.log"
    arguments = sys.argv[1:] or ["deploy/tests"]
    try:
        PLATFORM.make()
        with alone():
            if shutil.disk_usage(DATA).free < 6 * GIGABYTE:
                raise Unavailable(f"less than 6 GB free for {DATA}: make room, or set XDG_CACHE_HOME.")
            copy_project()
            engine = Engine(PROJECT, log)
            build(engine)
            code = test(engine, arguments)
            shutil.rmtree(PROJECT)
    except Unavailable as error:
        print(f"compose-test: skipped: {error}", file=sys.stderr)
        sys.exit(SKIPPED)
    sys.exit(code)


if __name__ == "__main__":
    main()
