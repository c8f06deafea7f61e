"""Imports: uploads, staged rows, and what is removed of them."""

import sqlalchemy as sa
from alembic import op

from chalicelib.db.engine import UtcDateTime

revision = "0005"
down_revision = "0004"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

STAGED = ("import_rows", "import_rejections")


def upgrade() -> None:
    """Create the tables and their triggers."""
    _create_uploads()
    op.create_table(
        "import_rows",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("timestamp", UtcDateTime(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", "timestamp", "position", name="pk_import_rows"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "import_rejections",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("number", "position", name="pk_import_rejections"),
        sqlite_with_rowid=False,
    )
    op.add_column("removals", sa.Column("import_id", sa.String(length=36), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        _create_triggers_on_postgresql()
    else:
        _create_triggers_on_sqlite()


def _create_uploads() -> None:
    op.create_table(
        "imports",
        sa.Column("number", BIG_ID, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.Column("filename", sa.String(length=255), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("etag", sa.String(length=255), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("upload_gone_at", UtcDateTime(), nullable=True),
        sa.Column("staged", sa.Boolean(), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=True),
        sa.Column("read", sa.BigInteger(), nullable=True),
        sa.Column("imported", sa.BigInteger(), nullable=True),
        sa.Column("skipped", sa.BigInteger(), nullable=True),
        sa.Column("rejected", sa.BigInteger(), nullable=True),
        sa.Column("report_key", sa.String(length=255), nullable=True),
        sa.Column("report_expires_at", UtcDateTime(), nullable=True),
        sa.Column("report_gone_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_imports_user_id_users", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name="fk_imports_task_id_tasks", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name="pk_imports"),
        sa.UniqueConstraint("id", name="uq_imports_id"),
        sa.UniqueConstraint("task_id", name="uq_imports_task_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_imports_user_id_created_at_id", "imports", ["user_id", "created_at", "id"])
    partial = {
        "expires_at": "upload_gone_at IS NULL",
        "report_expires_at": "report_expires_at IS NOT NULL AND report_gone_at IS NULL",
        "upload_gone_at": "staged AND upload_gone_at IS NOT NULL",
    }
    for column, condition in partial.items():
        where = sa.text(condition)
        op.create_index(
            f"ix_imports_{column}",
            "imports",
            [column],
            sqlite_where=where,
            postgresql_where=where,
        )


def _create_triggers_on_sqlite() -> None:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    op.execute(
        "CREATE TRIGGER audit_imported AFTER UPDATE OF imported ON imports "
        "WHEN NEW.imported IS NOT NULL AND OLD.imported IS NULL BEGIN "
        "INSERT INTO audit (at, event, user_id, task_id) "
        f"VALUES ({now}, 'imported', NEW.user_id, NEW.task_id); END"
    )
    deletes = " ".join(f"DELETE FROM {name} WHERE number = OLD.number;" for name in STAGED)
    op.execute(f"CREATE TRIGGER imports_unstage AFTER DELETE ON imports BEGIN {deletes} END")


def _create_triggers_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_imported() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO audit (at, event, user_id, task_id) "
        "VALUES (clock_timestamp(), 'imported', NEW.user_id, NEW.task_id); RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_imported AFTER UPDATE OF imported ON imports FOR EACH ROW "
        "WHEN (NEW.imported IS NOT NULL AND OLD.imported IS NULL) "
        "EXECUTE FUNCTION audit_imported()"
    )
    deletes = " ".join(f"DELETE FROM {name} WHERE number = OLD.number;" for name in STAGED)
    op.execute(
        "CREATE FUNCTION imports_unstage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"{deletes} RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER imports_unstage AFTER DELETE ON imports FOR EACH ROW "
        "EXECUTE FUNCTION imports_unstage()"
    )


def downgrade() -> None:
    """Drop them."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name in ("audit_imported", "imports_unstage"):
        op.execute(f"DROP TRIGGER {name}" + (" ON imports" if postgresql else ""))
        if postgresql:
            op.execute(f"DROP FUNCTION {name}()")
    op.drop_column("removals", "import_id")
    for name in (*STAGED, "imports"):
        op.drop_table(name)
