"""The server's database, copied and put back: a restore from a backup, on either database."""

import sqlite3
from collections.abc import Callable

from django.db import connection


def copy_database() -> Callable[[], None]:
    """Copy the whole database. Returns what puts it back as it was. Not within a transaction."""
    connection.ensure_connection()
    return _copy_sqlite() if connection.vendor == "sqlite" else _copy_postgresql()


def _copy_sqlite() -> Callable[[], None]:
    kept = sqlite3.connect(":memory:")
    connection.connection.backup(kept)

    def restore() -> None:
        connection.ensure_connection()
        kept.backup(connection.connection)

    return restore


def _copy_postgresql() -> Callable[[], None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        tables = [name for (name,) in cursor.fetchall()]
        cursor.execute("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'")
        numbers = cursor.fetchall()
        content = {}
        for table in tables:
            with cursor.copy(f'COPY "{table}" TO STDOUT') as copy:
                content[table] = b"".join(bytes(piece) for piece in copy)

    def restore() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute("TRUNCATE " + ", ".join(f'"{table}"' for table in tables))
            for table, rows in content.items():
                with cursor.copy(f'COPY "{table}" FROM STDIN') as copy:
                    copy.write(rows)
            for name, value in numbers:
                cursor.execute("SELECT setval(%s, %s, %s)", [name, value or 1, value is not None])
            cursor.execute("SET session_replication_role = origin")

    return restore
