"""A PostgreSQL that pgBackRest keeps: it can be restored to any moment since its backup."""

import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import psycopg

from script._lib.waiting import wait_until
from tests.support.small_postgres import AS_SERVER_USER, SmallPostgres

TOOL = shutil.which("pgbackrest")
STANZA = "pipeline"


class ArchivingPostgres(SmallPostgres):
    """Its WAL is archived from the beginning, into a folder beside it."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._config = home / "pgbackrest.conf"

    def archive(self) -> None:
        """Begin to archive, and make a base backup; takes a restart."""
        self.stop()
        (self.home / "repository").mkdir()
        self._config.write_text(
            f"""[global]
repo1-path={self.home}/repository
repo1-retention-full=1
lock-path={self.home}
log-level-file=off
start-fast=y
compress-type=none

[{STANZA}]
pg1-path={self.data}
pg1-port={self.port}
pg1-socket-path={self.home}
pg1-user=postgres
"""
        )
        settings = {
            "archive_mode": "on",
            "archive_command": f"{TOOL} --config={self._config} --stanza={STANZA} archive-push %p",
            "unix_socket_directories": self.home,
            "max_connections": 100,
        }
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        if AS_SERVER_USER:
            shutil.chown(self.home / "repository", "postgres", "postgres")
        self.start()
        self.pgbackrest("stanza-create")
        self.pgbackrest("backup")

    def pgbackrest(self, *arguments: str) -> None:
        """Run it as the server's user. Raises RuntimeError, with what it said, where it fails."""
        command = [*AS_SERVER_USER, str(TOOL), f"--config={self._config}", f"--stanza={STANZA}", *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pgbackrest {' '.join(arguments)}:\n{done.stdout}{done.stderr}")

    def archive_the_rest(self) -> None:
        """Wait until all that has happened is archived."""
        with psycopg.connect(self.owner_url, autocommit=True) as owner:
            ((written,),) = owner.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchall()
            newest = "SELECT coalesce(last_archived_wal, '') >= %s FROM pg_stat_archiver"
            wait_until(lambda: owner.execute(newest, [written]).fetchone() == (True,), 60, "the WAL to be archived")

    def restore_to(self, moment: datetime) -> None:
        """Forget everything after that moment."""
        self.stop()
        self.pgbackrest(
            "restore", "--delta", "--type=time", f"--target={moment.isoformat(sep=' ')}", "--target-action=promote"
        )
        self.start()
        wait_until(self._writes, 60, "the restored server to write")

    def _writes(self) -> bool:
        with psycopg.connect(self.owner_url) as owner:
            return owner.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
