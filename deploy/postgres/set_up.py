"""Makes the two database roles of docs/deploy.md and gives the application's its rights. Safe to repeat.

DATABASE_URL names the owner, APPLICATION_DATABASE_URL the application's role, each with the password that it is to
have.

python -m deploy.postgres.set_up roles    as the superuser of ADMIN_DATABASE_URL, once, or to change passwords
python -m deploy.postgres.set_up rights   as the owner, after each migrate
"""

from __future__ import annotations

import sys

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from config.environment import env


def roles() -> None:
    """Both roles, with their passwords, and the owner's database."""
    with psycopg.connect(env.str("ADMIN_DATABASE_URL")) as superuser:
        for variable in ("DATABASE_URL", "APPLICATION_DATABASE_URL"):
            login = conninfo_to_dict(env.str(variable))
            name, password = str(login["user"]), str(login["password"])
            if not superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
                superuser.execute(SQL("CREATE ROLE {}").format(Identifier(name)))
            # Hashed here: the server may log what it is told.
            kept = superuser.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
            superuser.execute(SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(Identifier(name), Literal(kept)))
            print(f"role {name} is set")
        owner = Identifier(str(conninfo_to_dict(env.str("DATABASE_URL"))["user"]))
        database = Identifier(superuser.info.dbname)
        superuser.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))


def rights() -> None:
    """What the application's role may do with the tables that are there now."""
    name = str(conninfo_to_dict(env.str("APPLICATION_DATABASE_URL"))["user"])
    app = Identifier(name)
    with psycopg.connect(env.str("DATABASE_URL")) as owner:
        owner.execute(SQL("GRANT USAGE ON SCHEMA public TO {}").format(app))
        owner.execute(SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(app))
        # The archive is only added to. Its partitions, new ones too, are reached through it and need no grant.
        for schema, part in owner.execute(PARTS).fetchall():
            owner.execute(SQL("REVOKE ALL ON {} FROM {}").format(Identifier(schema, part), app))
        owner.execute(SQL("GRANT SELECT, INSERT ON event TO {}").format(app))
    print(f"role {name} has its rights")


PARTS = """
SELECT nspname, relname FROM pg_partition_tree('event') JOIN pg_class ON pg_class.oid = relid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
"""

if __name__ == "__main__":
    {"roles": roles, "rights": rights}[sys.argv[1]]()
