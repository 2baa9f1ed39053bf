"""How old the last base backup is, and how far the archive of the WAL is behind: what a restore could bring back."""

from dataclasses import dataclass

from eventbus.db.sql import fetch

# Since the last archived file, or since anybody counts: after a crash PostgreSQL begins anew.
STATUS = """
SELECT current_setting('archive_mode') <> 'off',
       extract(epoch FROM clock_timestamp() - greatest(last_archived_time, stats_reset))::float8,
       coalesce(last_failed_time > last_archived_time OR last_archived_time IS NULL AND failed_count > 0, false),
       extract(epoch FROM clock_timestamp() - (SELECT ended_at FROM base_backup ORDER BY id DESC LIMIT 1))::float8
FROM pg_stat_archiver
"""


@dataclass(frozen=True)
class BackupStatus:
    """`archive_lag` is the seconds of changes that would be lost with the server's disk; with `archive_timeout` set, a
    little more than that at most. `backup_age` is None where no backup was ever noted."""

    archive_lag: float
    archive_fails: bool
    backup_age: float | None


def backup_status() -> BackupStatus | None:
    """None where PostgreSQL archives nothing. Raises DatabaseError."""
    ((archives, lag, fails, age),) = fetch(STATUS)
    return BackupStatus(lag, fails, age) if archives else None
