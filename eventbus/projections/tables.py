"""The tables of a projection in PostgreSQL's catalogue: making empty ones like them, and letting them change places."""

from collections.abc import Sequence

from django.db import connection

from eventbus.db.sql import fetch, quoted

# What `CREATE TABLE … LIKE` leaves behind, and what would go on pointing to the table that was moved away.
_STAYS_BEHIND = """
WITH t AS (SELECT oid, relname, relkind, relispartition FROM pg_class WHERE oid = ANY(%s::oid[]))
SELECT t.relname, 'it is not a plain table' FROM t
WHERE t.relkind <> 'r' OR t.relispartition OR EXISTS (SELECT FROM pg_inherits WHERE t.oid IN (inhrelid, inhparent))
UNION ALL
SELECT t.relname, 'the foreign key ' || c.conname FROM t JOIN pg_constraint c ON t.oid IN (c.conrelid, c.confrelid)
WHERE c.contype = 'f'
UNION ALL
SELECT t.relname, 'the trigger ' || g.tgname FROM t JOIN pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal
UNION ALL
SELECT t.relname, 'the policy ' || p.polname FROM t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT DISTINCT t.relname, 'the view ' || r.ev_class::regclass FROM t
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> t.oid
UNION ALL
SELECT t.relname, 'the sequence ' || s.relname FROM t
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.deptype = 'a'
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
ORDER BY 1, 2
"""

# LIKE would give the indexes names of its own, and a later migration looks for theirs.
_INDEXES = """
SELECT CASE WHEN c.oid IS NULL
    THEN regexp_replace(pg_get_indexdef(i.indexrelid), ' ON .*? USING ',
                        format(' ON %%I.%%I USING ', %s::text, t.relname))
    ELSE format('ALTER TABLE %%I.%%I ADD CONSTRAINT %%I %%s',
                %s::text, t.relname, c.conname, pg_get_constraintdef(c.oid))
    END
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = t.oid AND c.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %s ORDER BY i.indexrelid
"""

_GRANTS = """
SELECT format('GRANT %%s%%s ON %%I.%%I TO %%s%%s', a.privilege_type, g.columns, %s::text, g.relname,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM (
    SELECT relname, relowner, '' AS columns, relacl AS acl FROM pg_class WHERE oid = %s
    UNION ALL
    SELECT t.relname, t.relowner, format(' (%%I)', c.attname), c.attacl
    FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid WHERE t.oid = %s AND c.attacl IS NOT NULL
) g, aclexplode(g.acl) a
WHERE a.grantee <> g.relowner
"""

_SETTINGS = """
SELECT format('ALTER TABLE %%I.%%I SET (%%s)', %s::text, relname, array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = %s AND reloptions IS NOT NULL
"""

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity <> '' FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def oid(schema: str, table: str) -> int | None:
    """The table's number in the catalogue; None where there is no such table."""
    ((found,),) = fetch("SELECT to_regclass(%s)::oid::bigint", [quoted(schema, table)])
    return found  # type: ignore[no-any-return]


def stays_behind(schema: str, tables: Sequence[str]) -> list[str]:
    """What about these tables a shadow can't take over, one line each."""
    found = fetch(_STAYS_BEHIND, [[oid(schema, table) for table in tables]])
    return [f"{table}: {what}" for table, what in found]


def columns(schema: str, table: str) -> list[tuple[str, str, bool, bool]]:
    """Name, type, whether NOT NULL and whether an identity, of each column."""
    return fetch(_COLUMNS, [quoted(schema, table)])


def create_like(source: str, table: str, target: str) -> None:
    """An empty table in the schema `target`, like that of the same name in `source`, with its indexes and grants."""
    live = oid(source, table)
    execute(
        f"CREATE TABLE {quoted(target, table)} (LIKE {quoted(source, table)} INCLUDING ALL EXCLUDING INDEXES)",
        *(statement for (statement,) in fetch(_INDEXES, [target, target, live])),
        *(statement for (statement,) in fetch(_GRANTS, [target, live, live])),
        *(statement for (statement,) in fetch(_SETTINGS, [target, live])),
    )


def exchange(one: str, other: str, tables: Sequence[str]) -> None:
    """Let the tables of two schemas change places; indexes, constraints and identities go along.

    Raises OperationalError where somebody uses them longer than `lock_timeout`.
    """
    between = f"{other}_swap"
    # All at once and in one order: nobody waits for one table while holding another.
    both = ", ".join(quoted(schema, table) for table in sorted(tables) for schema in (one, other))
    execute(f"LOCK TABLE {both} IN ACCESS EXCLUSIVE MODE", f"CREATE SCHEMA {quoted(between)}")
    for table in tables:
        for source, target in ((one, between), (other, one), (between, other)):
            execute(f"ALTER TABLE {quoted(source, table)} SET SCHEMA {quoted(target)}")
    execute(f"DROP SCHEMA {quoted(between)}")
