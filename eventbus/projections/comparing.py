"""The live tables and their shadow tables, row by row."""

import json
from dataclasses import dataclass, field
from typing import Any

from eventbus.db.sql import fetch, quoted
from eventbus.projections.shadow_tables import ShadowTables
from eventbus.projections.tables import columns, oid

# The primary key, or the first unique index, that is made of columns that a rebuild numbers no other way.
_KEY = """
SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = %s AND i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL
GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attidentity = '')
ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1
"""
# As text: 1.0 and 1.00 are equal numbers, and not the same. Without a key each row is its own, as often as it is there.
_DIFFERENCES = """
WITH live AS (SELECT {key} AS key, {line} AS line, count(*) AS times FROM {live} t GROUP BY 1, 2),
     shadow AS (SELECT {key} AS key, {line} AS line, count(*) AS times FROM {shadow} t GROUP BY 1, 2),
     found AS (
         SELECT key, live.line AS live, shadow.line AS shadow,
                CASE WHEN live.line IS NULL THEN 'missing' WHEN shadow.line IS NULL THEN 'extra'
                     ELSE 'different' END AS kind
         FROM live FULL JOIN shadow USING (key)
         WHERE (live.line, live.times) IS DISTINCT FROM (shadow.line, shadow.times)
     )
SELECT kind, place, live, shadow, number FROM (
    SELECT *, row_number() OVER (PARTITION BY kind ORDER BY key) AS place, count(*) OVER (PARTITION BY kind) AS number
    FROM found
) f WHERE place <= greatest(%s, 1) ORDER BY kind, place
"""


@dataclass
class Differences:
    """How a live table differs from its shadow: rows that it misses, has too many, or has with other values."""

    table: str
    missing: int = 0
    extra: int = 0
    different: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.missing + self.extra + self.different

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "missing": self.missing,
            "extra": self.extra,
            "different": self.different,
            "first": self.first,
        }


def compare(shadow: ShadowTables, show: int) -> list[Differences]:
    """Compare each of the tables; the first `show` differences of each are listed.

    Identities are left out: a rebuild numbers its rows anew.
    """
    return [_compare(shadow, table, show) for table in shadow.consumer.tables]


def _compare(shadow: ShadowTables, table: str, show: int) -> Differences:
    names = [name for name, _, _, is_identity in columns(shadow.live, table) if not is_identity]
    key = fetch(_KEY, [oid(shadow.live, table)])
    row = "(SELECT row_to_json(r)::text FROM (SELECT {}) r)"
    statement = _DIFFERENCES.format(
        key=row.format(_columns(key[0][0] if key else names)),
        line=row.format(_columns(names)),
        live=quoted(shadow.live, table),
        shadow=quoted(shadow.schema, table),
    )
    found = Differences(table)
    for kind, place, live, rebuilt, number in fetch(statement, [show]):
        setattr(found, kind, number)
        if place <= show:
            found.first.append({"kind": kind, "live": _row(live), "rebuilt": _row(rebuilt)})
    return found


def _columns(names: list[str]) -> str:
    return ", ".join(f"t.{quoted(name)}" for name in names)


def _row(line: str | None) -> dict[str, Any] | None:
    # Numbers as they are written: this is for reading, and 1.10 is not 1.1.
    return None if line is None else json.loads(line, parse_float=str)
