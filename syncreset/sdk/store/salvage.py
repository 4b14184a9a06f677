"""What can be read of a damaged store, written into a sound one: its rows, and what of them waits to be sent."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...protocol.changes import ROW_CLOCK, parse_change
from ...protocol.errors import Malformed
from ..errors import ProtocolViolation
from .faults import DamagedValue, loaded
from .marks import UNKNOWN, Marks, deletion_of, marks_of
from .schema import ModelSchema, Schema, parse_schema
from .store import Store
from .tables import quote
from .wreck import Wreck, open_wreck

#: What a store knows of itself, by name.
_NAMES = (
    "client",
    "registered",
    "name",
    "next_seq",
    "receipt",
    "limits",
    "retention",
    "reach",
    "schema",
    "checkpoint",
    "scopes",
    "synced_at",
    "bootstrap_again",
    "handed_over",
)

_OUTBOX = ("seq", "model", "pk", "body", "acked")
_STEP = ("place", "id", "model", "pk", "field", "amount", "seq", "base", "at", "pulled", "sent")
_UNRESOLVED = (
    *("id", "seq", "model", "pk", "op", "state", "code"),
    *("detail", "field", "item", "fields", "server", "at"),
)
_ROW = ("updated", "clocks", "base", "local", "known", "origin")
_DELETED = ("at", "base", "pulled", "clocks", "scope", "checkpoint")

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Salvage:
    """What was read of a damaged store.

    ``tables`` are those that could not be read wholly. ``lost``: rows of which is known that something of them was
    unsynced, and not what. ``rows`` counts what was read. ``schema``: whether the tables of models were found.
    """

    tables: tuple[str, ...]
    lost: tuple[Key, ...]
    rows: int
    schema: bool


def is_sound(path: Path) -> bool:
    """Whether every page and index of a store can be read and fits the others."""
    store = Store(path, read_only=True)
    try:
        return store.connection.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
    finally:
        store.close()


def salvage(source: Path, target: Store, *, fallback: Schema) -> Salvage:
    """Write what can be read of a damaged file into a new store. ``fallback``: the schema where its own is damaged."""
    with open_wreck(source) as wreck, target.applying():
        reading = _Reading(wreck, target)
        reading.read_names(fallback)
        keys = reading.read_models()
        reading.read_marks(keys)
        reading.read_deletions()
        return reading.done()


class _Reading:
    def __init__(self, wreck: Wreck, target: Store) -> None:
        self._wreck, self._target = wreck, target
        self._rows = 0
        self._lost: set[Key] = set()
        self._refused: set[str] = set()
        #: The rows that were in flight, or have steps.
        self._moving: set[Key] = set()

    def done(self) -> Salvage:
        self._target.connection.execute(
            "UPDATE _syncreset_clock SET last = max(last, (SELECT coalesce(max(at), 0) FROM _syncreset_deleted))"
        )
        return Salvage(
            tables=tuple(sorted(self._wreck.damaged | self._refused)),
            lost=tuple(sorted(self._lost)),
            rows=self._rows,
            schema=bool(self._target.schema.models),
        )

    def read_names(self, fallback: Schema) -> None:
        """What the store knew of itself, and the tables without models."""
        found: dict[str, Any] = {}
        for name, value in self._wreck.values("_syncreset_meta", "name", "value", _NAMES).items():
            try:
                found[name] = loaded(value)
            except DamagedValue:
                self._refused.add("_syncreset_meta")
        try:
            schema = parse_schema(found.pop("schema", None) or fallback.document)
        except ProtocolViolation:
            schema = fallback
        self._target.put(**found)
        self._target.adopt_schema(schema)
        clock, _ = self._wreck.listed('SELECT "offset", last FROM _syncreset_clock')
        if clock and all(isinstance(value, int) for value in clock[0]):
            self._target.connection.execute('UPDATE _syncreset_clock SET "offset" = ?, last = ?', clock[0])
        self._read_own("_syncreset_outbox", _OUTBOX, "_syncreset_in_flight", _check_outbox)
        self._read_own("_syncreset_step", _STEP, "_syncreset_steps_of_row", _check_step)
        self._read_own("_syncreset_unresolved", _UNRESOLVED, "sqlite_autoindex__syncreset_unresolved_1", None)
        seq = self._target.connection.execute("SELECT max(seq) FROM _syncreset_outbox").fetchone()[0] or 0
        self._target.put(next_seq=max(int(self._target.get("next_seq", 1)), seq + 1))

    def _read_own(self, table: str, columns: tuple[str, ...], index: str, check: Any) -> None:
        by_index = f"SELECT {columns[0]} FROM {table} INDEXED BY {index}"
        place = columns.index("model")
        for row in self._wreck.numbered(table, columns, by_index).values():
            try:
                if check is not None:
                    check(row)
                if not all(isinstance(value, str) for value in row[place : place + 2]):
                    raise DamagedValue("a row is named by what is no text")
                self._insert(table, columns, row)
            except (DamagedValue, sqlite3.IntegrityError):
                self._refused.add(table)
            else:
                self._moving.add((row[place], row[place + 1]))

    def _insert(self, table: str, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
        self._target.connection.execute(
            f"INSERT OR REPLACE INTO {quote(table)} ({', '.join(map(quote, columns))}) "
            f"VALUES ({', '.join('?' * len(columns))})",
            row,
        )
        self._rows += 1

    def read_models(self) -> dict[Key, bool]:
        """The rows of models: every key that was found, and whether its values were."""
        keys: dict[Key, bool] = {}
        for model in self._target.schema.models.values():
            keys |= self._read_model(model)
        return keys

    def _read_model(self, model: ModelSchema) -> dict[Key, bool]:
        present = self._wreck.columns(model.table)
        columns = (model.primary_key, *(name for name in model.fields if name in present))
        if model.primary_key not in present:
            self._wreck.damaged.add(model.table)
            return {}
        key = quote(model.primary_key)
        by_index = f"SELECT rowid FROM {quote(model.table)} ORDER BY {key}"
        keys: dict[Key, bool] = {}
        for row in self._wreck.numbered(model.table, columns, by_index).values():
            if not isinstance(row[0], str):
                self._refused.add(model.table)
                continue
            try:
                self._insert(model.table, columns, row)
                keys[model.name, row[0]] = True
            except sqlite3.IntegrityError:
                self._refused.add(model.table)
        if model.table in self._wreck.damaged | self._refused:
            listed, _ = self._wreck.listed(f"SELECT {key} FROM {quote(model.table)} ORDER BY {key}")
            keys = {(model.name, row[0]): False for row in listed if isinstance(row[0], str)} | keys
        return keys

    def read_marks(self, keys: Mapping[Key, bool]) -> None:
        """What is known of the rows. A row whose marks cannot be read counts as unsynced, unless an index denies it."""
        pending, certain = self._wreck.listed(
            "SELECT model, pk FROM _syncreset_row INDEXED BY _syncreset_pending WHERE base IS NULL OR base <> '{}'"
        )
        likely = {(model, pk) for model, pk in pending if isinstance(model, str) and isinstance(pk, str)}
        known: set[Key] = set()
        for key, row in self._wreck.keyed(
            "_syncreset_row", ("model", "pk"), _ROW, {*likely, *keys, *self._moving}
        ).items():
            try:
                if not all(isinstance(part, str) for part in key):
                    raise DamagedValue("a row is named by what is no text")
                marks = marks_of(row)
            except DamagedValue:
                self._refused.add("_syncreset_row")
                continue
            known.add(key)
            self._take_marks(key, marks, here=keys.get(key, False))
        for key in {key for key, here in keys.items() if here} - known:
            if key in likely or not certain:
                self._take_marks(key, self._unknown_marks(key), here=True)
            else:
                self._drop(key)
        self._lost |= likely - known - {key for key, here in keys.items() if here}

    def _take_marks(self, key: Key, marks: Marks, *, here: bool) -> None:
        if here:
            self._target.set_marks(*key, marks)
            self._rows += 1
        elif marks.pending:
            self._lost.add(key)

    def _unknown_marks(self, key: Key) -> Marks:
        """Every field may have been changed, at a time that loses to any other."""
        model = self._target.schema.models[key[0]]
        return Marks(updated=0, base=dict.fromkeys(model.fields, UNKNOWN), local={ROW_CLOCK: 1})

    def _drop(self, key: Key) -> None:
        """An acknowledged row of which nothing else is known: the next pull brings it."""
        self._target.drop_row(self._target.schema.models[key[0]], key[1])

    def read_deletions(self) -> None:
        """The rows that are gone."""
        found = self._wreck.keyed("_syncreset_deleted", ("model", "pk"), _DELETED, self._moving)
        for (model, pk), row in found.items():
            try:
                deletion = deletion_of(row)
                if self._target.marks(model, pk) is None:
                    self._target.set_deletion(model, pk, replace(deletion))
                    self._rows += 1
            except (DamagedValue, sqlite3.Error):
                self._refused.add("_syncreset_deleted")


def _check_outbox(row: tuple[Any, ...]) -> None:
    try:
        parse_change(loaded(row[3]), "the outbox")
    except Malformed as error:
        raise DamagedValue(str(error)) from error


def _check_step(row: tuple[Any, ...]) -> None:
    loaded(row[_STEP.index("amount")])
