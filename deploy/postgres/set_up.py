"""Makes the two database roles of docs/deploy.md, each with the password of its address. Safe to repeat.

OWNER_DATABASE_URL names the owner of database and tables, DATABASE_URL the application's role. To be run as the
superuser of ADMIN_DATABASE_URL, once, or to change passwords. What the application may do with the tables
`manage.py migrate` tells PostgreSQL.
"""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from config.environment import env


def main() -> None:
    logins = [conninfo_to_dict(env.str(variable)) for variable in ("OWNER_DATABASE_URL", "DATABASE_URL")]
    owner, application = (Identifier(str(login["user"])) for login in logins)
    with psycopg.connect(env.str("ADMIN_DATABASE_URL")) as superuser:
        for login in logins:
            set_role(superuser, str(login["user"]), str(login["password"]))
        superuser.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(superuser.info.dbname), owner))
        # So that whoever waits for a table can say for whom: other roles' transactions are nobody's to see.
        superuser.execute(SQL("GRANT {} TO {}").format(application, owner))


def set_role(superuser: psycopg.Connection, name: str, password: str) -> None:
    if not superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
        superuser.execute(SQL("CREATE ROLE {}").format(Identifier(name)))
    # Hashed here: the server may log what it is told.
    kept = superuser.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    superuser.execute(SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(Identifier(name), Literal(kept)))
    print(f"role {name} is set")


if __name__ == "__main__":
    main()
