"""What the database has: triggers, columns, schemas."""

from django.db.backends.base.base import BaseDatabaseWrapper

from ..table import PREFIX, Installed

_INSTALLED = """
SELECT p.proname, c.relname, p.prosrc, t.tgenabled IN ('O', 'A')
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND p.proname LIKE %s AND pg_table_is_visible(c.oid)
"""

_COLUMNS = """
SELECT c.relname, n.nspname, a.attname, format_type(a.atttypid, NULL)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND c.relname = ANY(%s)
"""

_ORPHANS = """
SELECT p.oid::regprocedure::text
FROM pg_proc p
WHERE p.proname LIKE %s AND p.prorettype = 'trigger'::regtype AND pg_function_is_visible(p.oid)
  AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgfoid = p.oid)
"""

_LIKE_OURS = PREFIX.replace("_", r"\_") + "%"


def installed(connection: BaseDatabaseWrapper) -> dict[str, Installed]:
    """Our triggers by name. One that has been disabled shows no text."""
    with connection.cursor() as cursor:
        cursor.execute(_INSTALLED, [_LIKE_OURS])
        return {
            name: Installed(table=table, text=source if enabled else "")
            for name, table, source, enabled in cursor.fetchall()
        }


def columns(connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, dict[str, str]]:
    """The columns that the tables have, with their types; a table that does not exist is left out."""
    found: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [tables])
        for table, _, column, kind in cursor.fetchall():
            found.setdefault(table, {})[column] = kind
    return found


def drop_sql(connection: BaseDatabaseWrapper, name: str, table: str) -> str:
    """The statement that drops a trigger with its function."""
    return f"DROP FUNCTION IF EXISTS {connection.ops.quote_name(name)}() CASCADE"


def remove_orphans(connection: BaseDatabaseWrapper) -> None:
    """Drop our functions that no trigger calls any more, as those of a table that has been dropped."""
    with connection.cursor() as cursor:
        cursor.execute(_ORPHANS, [_LIKE_OURS])
        for (signature,) in cursor.fetchall():
            cursor.execute(f"DROP FUNCTION {signature}")


def lock_sql(connection: BaseDatabaseWrapper, table: str) -> str | None:
    """The statement that lets nobody else write a table until the transaction ends, where one is needed."""
    return f"LOCK TABLE {connection.ops.quote_name(table)} IN SHARE ROW EXCLUSIVE MODE"


def copy_sql(connection: BaseDatabaseWrapper, table: str, copy: str) -> str:
    """The statement that copies a table with its rows."""
    quote = connection.ops.quote_name
    return f"CREATE TABLE {quote(copy)} AS TABLE {quote(table)}"


def schemas_of(connection: BaseDatabaseWrapper, tables: list[str]) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [tables])
        return {table: schema for table, schema, _, _ in cursor.fetchall()}
