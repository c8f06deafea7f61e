"""The role that API and workers sign in as: it reads and writes rows, and owns nothing.

Migrations run as the owner of the database. What signs in every day can neither change the schema
nor create roles, so a hole in it is no hole in those. PostgreSQL alone has roles.
"""

import sqlalchemy as sa
from psycopg import Connection, sql

from chalicelib.db.engine import SILENCE_S, Database

RIGHTS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role}",
    # What a later migration creates: the owner's default for its own new tables.
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
    ),
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {role}",
    # A connection pooler takes no options when it is connected to, so the role brings them.
    "ALTER ROLE {role} SET timezone TO 'UTC'",
    f"ALTER ROLE {{role}} SET idle_in_transaction_session_timeout TO '{SILENCE_S}s'",
)


def set_up(database: Database, *, name: str, password: str) -> None:
    """Create the role, or set its password and rights as they should be.

    Args:
        database: Signed in to as the owner of its tables, who may create roles.
        name: The role's.
        password: Reaches the server as a SCRAM verifier, so that no log of statements can hold it.
    """
    with database.engine.begin() as connection:
        exists = connection.scalar(
            sa.text("SELECT 1 FROM pg_roles WHERE rolname = :x"), {"x": name}
        )
        driver = connection.connection.driver_connection
        assert isinstance(driver, Connection)  # noqa: S101 - it is psycopg's  # nosec B101
        verifier = driver.pgconn.encrypt_password(
            password.encode(), name.encode(), b"scram-sha-256"
        ).decode()
        role = sql.Identifier(name)
        verb = "ALTER" if exists else "CREATE"
        driver.execute(
            sql.SQL(f"{verb} ROLE {{}} LOGIN PASSWORD {{}}").format(role, sql.Literal(verifier))
        )
        for right in RIGHTS:
            driver.execute(sql.SQL(right).format(role=role))
