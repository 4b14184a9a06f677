"""The store of a replica: one SQLite file with the rows, what is known of each, and what waits to be sent."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...protocol.clock import TOLERATED_SKEW, now
from ...protocol.strict_json import dumps
from ..errors import ProtocolViolation
from ..reports import Unresolved
from .connection import StoreConnection
from .faults import DamagedValue, loaded, storage_errors
from .marks import Deletion, Marks, deletion_of, marks_of
from .schema import EMPTY, ModelSchema, Schema, parse_schema
from .tables import fit_tables, quote
from .values import to_sql, to_wire


class Store(StoreConnection):
    """An open store: its rows and what is known of them."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        try:
            with storage_errors(path):
                self.schema: Schema = self._schema()
        except BaseException:
            self.close()
            raise

    def _schema(self) -> Schema:
        document = self.get("schema")
        try:
            return EMPTY if document is None else parse_schema(document)
        except ProtocolViolation as error:
            raise DamagedValue("the schema cannot be read") from error

    # -- what the store knows of itself ---------------------------------------------------------------------------

    def get(self, name: str, default: Any = None) -> Any:
        """A named JSON value of the store."""
        row = self.connection.execute("SELECT value FROM _syncreset_meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else loaded(row[0])

    def put(self, **values: Any) -> None:
        """Set named JSON values."""
        self.connection.executemany(
            "INSERT OR REPLACE INTO _syncreset_meta VALUES (?, ?)",
            [(name, json.dumps(value)) for name, value in values.items()],
        )

    def adopt_schema(self, schema: Schema) -> None:
        """Fit the tables to a schema, within the caller's transaction."""
        fit_tables(self.connection, schema)
        self.put(schema=dict(schema.document))
        self.schema = schema

    # -- the clock ------------------------------------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """Server time minus device time (µs), as last measured."""
        return int(self.connection.execute('SELECT "offset" FROM _syncreset_clock').fetchone()[0])

    def corrected_now(self) -> int:
        """The server's time (µs) as far as this device can tell."""
        return now() + self.offset

    def measure(self, server_time: int, *, asked: int, answered: int) -> None:
        """Correct the offset of the server's clock, as far as an answer proves it wrong.

        The server took its time somewhere between the moments at which this device ``asked`` and was ``answered`` (µs,
        its own clock): an offset that fits is kept, so that a slow answer makes no exact clock wrong. Where it jumps by
        more than the protocol tolerates, the times of writes not yet sent move along as a whole, but not beyond the
        server's: a clock that was fast, and known to be, is no reason to be ahead once it is put right.
        """
        before = self.offset
        measured = max(min(before, server_time - asked), server_time - answered)
        shift = measured - before
        with self.transaction():
            if abs(shift) > TOLERATED_SKEW:
                self._shift_local_times(shift, latest=server_time)
            self.connection.execute('UPDATE _syncreset_clock SET "offset" = ?', (measured,))

    def observe(self, timestamp: int) -> None:
        """Never again issue a time at or before this one (µs)."""
        self.connection.execute("UPDATE _syncreset_clock SET last = max(last, ?)", (timestamp,))

    def _shift_local_times(self, shift: int, *, latest: int) -> None:
        def shifted(at: int) -> int:
            return max(min(at + shift, max(at, latest)), 0)

        for model, pk, marks in list(self.pending_marks()):
            marks.local = {name: max(shifted(at), marks.updated + 1) for name, at in marks.local.items()}
            self.set_marks(model, pk, marks)
        self.connection.create_function("_syncreset_shifted", 1, shifted)
        self.connection.execute("UPDATE _syncreset_deleted SET at = _syncreset_shifted(at) WHERE NOT pulled")
        self.connection.execute("UPDATE _syncreset_clock SET last = _syncreset_shifted(last)")

    # -- rows -----------------------------------------------------------------------------------------------------

    def row(self, model: ModelSchema, pk: str) -> dict[str, Any] | None:
        """The fields of a row in wire values, without its primary key."""
        found = next(self.rows(model, {model.primary_key: pk}), None)
        return None if found is None else found[1]

    def rows(
        self, model: ModelSchema, where: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Primary keys and fields, in the order of the keys. ``where`` maps columns to SQL values."""
        names = list(model.fields)
        columns = ", ".join(map(quote, [model.primary_key, *names]))
        condition = " AND ".join(f"{quote(name)} IS ?" for name in where or {}) or "1"
        storages = [model.fields[name].storage for name in names]
        cursor = self.connection.execute(
            f"SELECT {columns} FROM {quote(model.table)} WHERE {condition} ORDER BY {quote(model.primary_key)}",
            list((where or {}).values()),
        )
        for row in cursor:
            yield (
                row[0],
                {
                    name: to_wire(storage, value)
                    for name, storage, value in zip(names, storages, row[1:], strict=True)
                },
            )

    def write_row(self, model: ModelSchema, pk: str, fields: Mapping[str, Any]) -> None:
        """Insert or update the named columns from wire values. Fields that the schema does not have are left out."""
        known = {name: value for name, value in fields.items() if name in model.fields}
        values = [to_sql(model.fields[name].storage, value) for name, value in known.items()]
        columns = "".join(f", {quote(name)}" for name in known)
        updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in known)
        self.connection.execute(
            f"INSERT INTO {quote(model.table)} ({quote(model.primary_key)}{columns}) VALUES (?{', ?' * len(known)}) "
            f"ON CONFLICT ({quote(model.primary_key)}) DO "
            + (f"UPDATE SET {updates}" if known else "NOTHING"),
            [pk, *values],
        )

    def drop_row(self, model: ModelSchema, pk: str) -> None:
        """Remove a row and its marks."""
        self.connection.execute(
            f"DELETE FROM {quote(model.table)} WHERE {quote(model.primary_key)} = ?", (pk,)
        )
        self.connection.execute("DELETE FROM _syncreset_row WHERE model = ? AND pk = ?", (model.name, pk))
        self.connection.execute(
            "DELETE FROM _syncreset_step WHERE model = ? AND pk = ? AND seq IS NULL", (model.name, pk)
        )

    # -- marks and deletions --------------------------------------------------------------------------------------

    def marks(self, model: str, pk: str) -> Marks | None:
        row = self.connection.execute(
            "SELECT updated, clocks, base, local, known, origin FROM _syncreset_row WHERE model = ? AND pk = ?",
            (model, pk),
        ).fetchone()
        return None if row is None else marks_of(row)

    def set_marks(self, model: str, pk: str, marks: Marks) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO _syncreset_row (model, pk, updated, clocks, base, local, known, origin) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                model,
                pk,
                marks.updated,
                dumps(marks.clocks),
                None if marks.base is None else dumps(marks.base),
                dumps(marks.local),
                marks.known,
                dumps(marks.origin),
            ),
        )

    def pending_marks(self, model: str | None = None) -> Iterator[tuple[str, str, Marks]]:
        """Rows with something unsynced."""
        condition, arguments = ("", ()) if model is None else (" AND model = ?", (model,))
        cursor = self.connection.execute(
            "SELECT model, pk, updated, clocks, base, local, known, origin FROM _syncreset_row "
            f"WHERE (base IS NULL OR base <> '{{}}'){condition} ORDER BY model, pk",
            arguments,
        )
        for row in cursor:
            yield row[0], row[1], marks_of(row[2:])

    def deletion(self, model: str, pk: str) -> Deletion | None:
        row = self.connection.execute(
            "SELECT at, base, pulled, clocks, scope, checkpoint FROM _syncreset_deleted WHERE model = ? AND pk = ?",
            (model, pk),
        ).fetchone()
        return None if row is None else deletion_of(row)

    def scope_of(self, model: ModelSchema, pk: str) -> str | None:
        """What says the scope of a row that is here, None where nothing does."""
        if model.scope is None or model.scope == model.primary_key:
            return None if model.scope is None else pk
        value = (self.row(model, pk) or {}).get(model.scope)
        return None if value is None else str(value)

    def set_deletion(self, model: str, pk: str, deletion: Deletion) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO _syncreset_deleted (model, pk, at, base, clocks, pulled, scope, checkpoint) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                model,
                pk,
                deletion.at,
                deletion.base,
                dumps(dict(deletion.clocks)),
                deletion.pulled,
                deletion.scope,
                deletion.checkpoint,
            ),
        )

    def drop_deletion(self, model: str, pk: str) -> None:
        self.connection.execute("DELETE FROM _syncreset_deleted WHERE model = ? AND pk = ?", (model, pk))

    def deletions(self, *, pulled: bool) -> Iterator[tuple[str, str, Deletion]]:
        cursor = self.connection.execute(
            "SELECT model, pk, at, base, pulled, clocks, scope, checkpoint FROM _syncreset_deleted "
            "WHERE pulled = ? ORDER BY model, pk",
            (pulled,),
        )
        for row in cursor:
            yield row[0], row[1], deletion_of(row[2:])

    def forget_deletions(self, before: int) -> None:
        """Drop pulled deletions older than the server keeps its tombstones."""
        self.connection.execute("DELETE FROM _syncreset_deleted WHERE pulled AND at < ?", (before,))

    def pending_count(self) -> int:
        """How many rows and deletions the server has not acknowledged."""
        row = self.connection.execute(
            "SELECT (SELECT count(*) FROM _syncreset_row WHERE base IS NULL OR base <> '{}') "
            "+ (SELECT count(*) FROM _syncreset_deleted WHERE NOT pulled)"
        ).fetchone()
        return int(row[0])

    # -- what the server did not simply apply ---------------------------------------------------------------------

    def add_unresolved(
        self,
        *,
        seq: int | None,
        model: str,
        pk: str,
        op: str,
        state: str,
        fields: Mapping[str, Any],
        server: Mapping[str, Any] | None = None,
        problem: Mapping[str, Any] | None = None,
        item: str | None = None,
    ) -> None:
        """Keep what was sent until the app has acknowledged that it saw it. A repeated ``seq`` is kept once."""
        problem = problem or {}
        self.connection.execute(
            "INSERT OR REPLACE INTO _syncreset_unresolved "
            "(seq, model, pk, op, state, code, detail, field, item, fields, server, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                seq,
                model,
                pk,
                op,
                state,
                problem.get("code"),
                problem.get("detail"),
                problem.get("field"),
                item,
                dumps(fields),
                None if server is None else dumps(server),
                self.corrected_now(),
            ),
        )

    def unresolved(self) -> list[Unresolved]:
        return [
            Unresolved(
                id=row[0],
                model=row[1],
                pk=row[2],
                op=row[3],
                state=row[4],
                code=row[5],
                detail=row[6],
                field=row[7],
                item=row[8],
                fields=loaded(row[9]),
                server=None if row[10] is None else loaded(row[10]),
                at=row[11],
            )
            for row in self.connection.execute(
                "SELECT id, model, pk, op, state, code, detail, field, item, fields, server, at "
                "FROM _syncreset_unresolved ORDER BY id"
            )
        ]

    def acknowledge(self, ids: Iterable[int]) -> None:
        with self.transaction():
            self.connection.executemany(
                "DELETE FROM _syncreset_unresolved WHERE id = ?", [(item,) for item in ids]
            )
