"""Alembic's way into the ledger; `python -m worker migrate` runs it."""

from alembic import context

import chalicelib.microblog.models  # noqa: F401 - puts its tables into `Base.metadata`
from chalicelib.db.engine import Database
from chalicelib.db.models import Base


def run() -> None:
    """Migrate in one transaction."""
    database: Database = context.config.attributes["database"]
    with database.engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, render_as_batch=True
        )
        with context.begin_transaction():
            context.run_migrations()


run()
