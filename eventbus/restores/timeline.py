"""PostgreSQL's timeline: every restore and every failover begins a new one, on which nothing is forgotten again."""

from eventbus.db.sql import fetch

# The first eight digits of a WAL file's name. Who asks is connected to a server that writes.
NOW = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
RECONCILED = "SELECT timeline FROM reconciliation ORDER BY id DESC LIMIT 1"


def timeline() -> int:
    """The one that the server is on."""
    ((number,),) = fetch(NOW)
    return int(number)


def is_reconciled() -> bool:
    """Whether database and outside were compared on this timeline, or have never been apart."""
    return fetch(RECONCILED) in ([], [(timeline(),)])
