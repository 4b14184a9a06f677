"""What the database has: triggers and columns."""

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import PREFIX, Installed


def installed(connection: BaseDatabaseWrapper) -> dict[str, Installed]:
    """Our triggers by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, %s) = %s",
            [len(PREFIX), PREFIX],
        )
        return {name: Installed(table=table, text=sql) for name, table, sql in cursor.fetchall()}


def columns(connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, dict[str, str]]:
    """The columns that the tables have, with their types; a table that does not exist is left out."""
    found: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute("SELECT name, lower(type) FROM pragma_table_xinfo(%s)", [table])
            described = {name: kind.partition("(")[0] for name, kind in cursor.fetchall()}
            if described:
                found[table] = described
    return found


def drop_sql(connection: BaseDatabaseWrapper, name: str, table: str) -> str:
    """The statement that drops a trigger."""
    return f"DROP TRIGGER IF EXISTS {connection.ops.quote_name(name)}"


def remove_orphans(connection: BaseDatabaseWrapper) -> None:
    """Nothing: on SQLite a trigger goes with its table."""


def lock_sql(connection: BaseDatabaseWrapper, table: str) -> str | None:
    """None: whoever writes on SQLite writes alone."""
    return None


def copy_sql(connection: BaseDatabaseWrapper, table: str, copy: str) -> str:
    """The statement that copies a table with its rows."""
    quote = connection.ops.quote_name
    return f"CREATE TABLE {quote(copy)} AS SELECT * FROM {quote(table)}"
