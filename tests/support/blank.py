"""The database as it was before the first test, put back after each test that commits.

Django empties every table and then asks every app for what belongs into it, which takes longer than most tests. Here
only what a test has changed is put back; Django does its part where a test has changed tables or triggers.
"""

from collections.abc import Callable

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import TransactionTestCase

from tests.support.restoring import copy_database

# Columns, triggers and functions as one text.
_SCHEMA = """
SELECT md5(concat(
    (SELECT string_agg(concat(attrelid::regclass, attname, atttypid, attnotnull), ',' ORDER BY relname, attname)
       FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
      WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r' AND relnamespace = 'public'::regnamespace),
    (SELECT string_agg(pg_get_triggerdef(t.oid), ',' ORDER BY relname, tgname)
       FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal),
    (SELECT string_agg(concat(proname, prosrc), ',' ORDER BY proname, prosrc)
       FROM pg_proc WHERE pronamespace = 'public'::regnamespace)
))
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


def blank_database() -> Callable[[], None]:
    """Remember the database as it is. Returns what puts its rows back, where tables and triggers are still the same."""
    return copy_database() if connection.vendor == "sqlite" else _BlankPostgreSQL().restore


def flushed_to_blank() -> Callable[[TransactionTestCase], None]:
    """Remember the database as it is. Returns what a test case that commits does at its end: it puts that back."""
    by_django = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
    if connection.vendor == "sqlite":
        restore = copy_database()
        return lambda case: restore()
    blank = _BlankPostgreSQL()

    def teardown(case: TransactionTestCase) -> None:
        if not blank.has_my_schema():
            by_django(case)
            ContentType.objects.clear_cache()
        blank.restore()

    return teardown


class _BlankPostgreSQL:
    """``kept`` has the rows of the tables that are not empty, in the format of COPY, and a digest of them."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, bytes]] = {}
        with connection.cursor() as cursor:
            cursor.execute(_SCHEMA)
            (self.schema,) = cursor.fetchone()
            for table in self._filled():
                with cursor.copy(f'COPY "{table}" TO STDOUT') as copy:
                    rows = b"".join(bytes(piece) for piece in copy)
                self.kept[table] = self._digest(table), rows

    def has_my_schema(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(_SCHEMA)
            return bool(cursor.fetchone() == (self.schema,))

    def restore(self) -> None:
        changed = [table for table in self._filled() if table not in self.kept]
        changed += [table for table, (digest, _) in self.kept.items() if self._digest(table) != digest]
        if changed:
            self._put_back(changed)

    def _put_back(self, tables: list[str]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(";".join(f'DELETE FROM "{table}"' for table in tables))
            for table in tables:
                if table in self.kept:
                    with cursor.copy(f'COPY "{table}" FROM STDIN') as copy:
                        copy.write(self.kept[table][1])
            cursor.execute("SET session_replication_role = origin")

    def _filled(self) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute(_TABLES)
            asked = (
                f"SELECT '{table}' WHERE EXISTS (SELECT FROM \"{table}\")" for (table,) in cursor.fetchall()
            )
            cursor.execute(" UNION ALL ".join(asked))
            return [table for (table,) in cursor.fetchall()]

    def _digest(self, table: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM \"{table}\" t")
            return str(cursor.fetchone()[0])
