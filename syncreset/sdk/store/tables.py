"""The tables of a store, and the triggers that track what anybody writes to them with plain SQL.

The triggers use nothing but SQL, so that writes from the ``sqlite3`` shell are tracked as well. They stand still
while the engine applies the server's data (``mode`` 1) and refuse every write once the store has become a backup
(``mode`` 2).
"""

import sqlite3
from collections.abc import Iterator

from .schema import FieldSchema, ModelSchema, Schema
from .values import Storage

TRACKING, APPLYING, SEALED = 0, 1, 2

SEALED_MESSAGE = "this store has become the backup of a client reset: open the replica again"

#: ``updated`` is the server's; ``clocks`` maps fields to the server's clocks; ``base`` maps each locally changed field
#: to the server's clock known when it was changed (NULL: made here, never acknowledged; -1: unknown); ``local`` maps
#: them to the times of the changes; ``known`` is set where the server may still have a row that was deleted and made
#: again here. ``origin`` maps each counter and set that is being changed to the value that its step has led away from,
#: and the step's id: both are noted with the first write of it. All times in µs.
#:
#: A step that has ended has its ``amount``; ``seq`` is the number of the change that brought it to the server, ``base``
#: the field's base then, ``at`` the server's clock in the answer. Once ``pulled`` it is in the value that was pulled.
#: ``sent`` says whether it may have reached a server: 0 no; 1 on its way for the first time; 2 perhaps, by a push whose
#: answer is not known or by another copy of the store.
_OWN_TABLES = """
CREATE TABLE IF NOT EXISTS _syncreset_clock (
    one INTEGER PRIMARY KEY CHECK (one = 1), "offset" INTEGER NOT NULL, last INTEGER NOT NULL, mode INTEGER NOT NULL
);
INSERT OR IGNORE INTO _syncreset_clock VALUES (1, 0, 0, 0);
CREATE TABLE IF NOT EXISTS _syncreset_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _syncreset_row (
    model TEXT NOT NULL, pk TEXT NOT NULL, updated INTEGER NOT NULL, clocks TEXT NOT NULL,
    base TEXT, local TEXT NOT NULL, known INTEGER, origin TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (model, pk)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _syncreset_pending ON _syncreset_row (model, pk) WHERE base IS NULL OR base <> '{}';
CREATE TABLE IF NOT EXISTS _syncreset_deleted (
    model TEXT NOT NULL, pk TEXT NOT NULL, at INTEGER NOT NULL, base INTEGER, clocks TEXT NOT NULL,
    pulled INTEGER NOT NULL, scope TEXT, checkpoint TEXT, PRIMARY KEY (model, pk)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _syncreset_outbox (
    seq INTEGER PRIMARY KEY, model TEXT NOT NULL, pk TEXT NOT NULL, body TEXT NOT NULL, acked INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS _syncreset_in_flight ON _syncreset_outbox (model, pk);
CREATE TABLE IF NOT EXISTS _syncreset_step (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, model TEXT NOT NULL, pk TEXT NOT NULL,
    field TEXT NOT NULL, amount TEXT NOT NULL, seq INTEGER, base INTEGER, at INTEGER,
    pulled INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS _syncreset_steps_of_row ON _syncreset_step (model, pk);
CREATE INDEX IF NOT EXISTS _syncreset_steps_sent ON _syncreset_step (seq);
CREATE TABLE IF NOT EXISTS _syncreset_staging (number INTEGER PRIMARY KEY, change TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _syncreset_unresolved (
    id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER UNIQUE, model TEXT NOT NULL, pk TEXT NOT NULL, op TEXT NOT NULL,
    state TEXT NOT NULL, code TEXT, detail TEXT, field TEXT, item TEXT, fields TEXT NOT NULL, server TEXT,
    at INTEGER NOT NULL
);
"""

#: The device's clock in µs, corrected by the measured offset, never at or before a time already issued.
_NOW = """CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000 + "offset" """

#: A UUIDv7 made in SQL, for rows that plain SQL inserts without a primary key.
_KEY_DEFAULT = (
    "(lower(printf('%s-%s-7%s-%s%s-%s', "
    "printf('%08x', CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) / 65536), "
    "printf('%04x', CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) % 65536), "
    "substr(hex(randomblob(2)), 2), substr('89ab', 1 + (random() & 3), 1), substr(hex(randomblob(2)), 2), "
    "hex(randomblob(6)))))"
)

_COLUMN: dict[Storage, str] = {
    "text": "TEXT CHECK (typeof({0}) <> 'blob')",
    "integer": "INTEGER CHECK (typeof({0}) <> 'blob')",
    "boolean": "INTEGER CHECK (typeof({0}) <> 'blob')",
    "real": "REAL CHECK (typeof({0}) <> 'blob')",
    "binary": "TEXT",
    "json": "TEXT CHECK (typeof({0}) <> 'blob' AND ({0} IS NULL OR json_valid({0})))",
}


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def create_own_tables(connection: sqlite3.Connection) -> None:
    """The SDK's own tables, named ``_syncreset_…``. To be called in a transaction; harmless when repeated."""
    for statement in _OWN_TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def fit_tables(connection: sqlite3.Connection, schema: Schema) -> None:
    """Create or extend a table for every model, with its triggers. To be called in a transaction.

    Columns that the schema no longer has are left where they are, and so is what is as it should be: each statement
    that alters a table makes SQLite read every trigger of the store anew.
    """
    present = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    for model in schema.models.values():
        _fit_columns(connection, model)
        for name, definition in _triggers(model):
            if present.get(name) != definition:
                connection.execute(f"DROP TRIGGER IF EXISTS {quote(name)}")
                connection.execute(definition)


def _fit_columns(connection: sqlite3.Connection, model: ModelSchema) -> None:
    table, key = quote(model.table), quote(model.primary_key)
    columns = {
        field.name: f"{quote(field.name)} {_COLUMN[field.storage].format(quote(field.name))}"
        for field in model.fields.values()
    }
    present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    if not present:
        primary = f"{key} TEXT PRIMARY KEY NOT NULL DEFAULT {_KEY_DEFAULT} CHECK (typeof({key}) = 'text')"
        connection.execute(f"CREATE TABLE {table} ({', '.join([primary, *columns.values()])})")
        return
    for name in [name for name in columns if name not in present]:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {columns[name]}")


def _triggers(model: ModelSchema) -> Iterator[tuple[str, str]]:
    table, key = quote(model.table), quote(model.primary_key)
    tracked = "(SELECT mode FROM _syncreset_clock) <> 1"
    changed = " OR ".join(f"OLD.{quote(name)} IS NOT NEW.{quote(name)}" for name in model.fields) or "0"
    parts = {
        "replace": ("BEFORE INSERT", tracked, _replaced(model)),
        "insert": ("AFTER INSERT", tracked, _inserted(model, f"NEW.{key}")),
        "update": ("AFTER UPDATE", f"{tracked} AND OLD.{key} IS NEW.{key} AND ({changed})", _updated(model)),
        "rekey": (
            "AFTER UPDATE",
            f"{tracked} AND OLD.{key} IS NOT NEW.{key}",
            _deleted(model, f"OLD.{key}") + _inserted(model, f"NEW.{key}"),
        ),
        "delete": ("AFTER DELETE", tracked, _deleted(model, f"OLD.{key}")),
    }
    for kind, (event, condition, body) in parts.items():
        name = f"_syncreset_{kind}_{model.table}"
        refuse = f"SELECT RAISE(ABORT, {text(SEALED_MESSAGE)}) FROM _syncreset_clock WHERE mode = {SEALED}"
        yield (
            name,
            f"CREATE TRIGGER {quote(name)} {event} ON {table} WHEN {condition} BEGIN {'; '.join([refuse, *body])}; END",
        )


def _replaced(model: ModelSchema) -> list[str]:
    """What ``INSERT OR REPLACE`` is about to overwrite is known only before it does."""
    if not model.stepped:
        return []
    key = quote(model.primary_key)
    captured = _union(
        [
            f"SELECT {text(field.name)} AS name, {_boxed(field, f't.{quote(field.name)}')} AS value "
            f"FROM {quote(model.table)} t WHERE t.{key} = NEW.{key}"
            for field in model.stepped
        ]
    )
    return [
        (
            f"UPDATE _syncreset_row SET origin = {_origins(captured)} "
            f"WHERE model = {text(model.name)} AND pk = NEW.{key}"
        )
    ]


def _tick(model: ModelSchema, pk: str) -> str:
    return (
        f"UPDATE _syncreset_clock SET last = max({_NOW}, last + 1, 1 + coalesce("
        f"(SELECT updated FROM _syncreset_row WHERE model = {text(model.name)} AND pk = {pk}), 0))"
    )


def _inserted(model: ModelSchema, pk: str) -> list[str]:
    """``INSERT OR REPLACE`` meets a row that is known already: then every field counts as written."""
    name = text(model.name)
    every = _union([f"SELECT {text(field)} AS name" for field in model.fields])
    return [
        _tick(model, pk),
        (
            f"UPDATE _syncreset_row SET base = {_bases(every)}, local = CASE WHEN base IS NULL "
            f"THEN json_object('*', (SELECT last FROM _syncreset_clock)) ELSE {_times(every)} END "
            f"WHERE model = {name} AND pk = {pk}"
        ),
        (
            "INSERT INTO _syncreset_row (model, pk, updated, clocks, base, local, known, origin) "
            f"SELECT {name}, {pk}, 0, '{{}}', NULL, json_object('*', c.last), d.base, "
            f"CASE WHEN d.base IS NULL THEN {_from_nothing(model)} ELSE '{{}}' END "
            f"FROM _syncreset_clock c LEFT JOIN _syncreset_deleted d ON d.model = {name} AND d.pk = {pk} "
            "AND NOT d.pulled "
            f"WHERE NOT EXISTS (SELECT 1 FROM _syncreset_row WHERE model = {name} AND pk = {pk})"
        ),
        f"DELETE FROM _syncreset_deleted WHERE model = {name} AND pk = {pk}",
    ]


def _updated(model: ModelSchema) -> list[str]:
    changed = _union(
        [
            f"SELECT {text(field)} AS name WHERE OLD.{quote(field)} IS NOT NEW.{quote(field)}"
            for field in model.fields
        ]
    )
    captured = _union(
        [
            f"SELECT {text(field.name)} AS name, {_boxed(field, f'OLD.{quote(field.name)}')} AS value "
            f"WHERE OLD.{quote(field.name)} IS NOT NEW.{quote(field.name)}"
            for field in model.stepped
        ]
    )
    origin = f", origin = {_origins(captured)}" if model.stepped else ""
    pk = f"NEW.{quote(model.primary_key)}"
    return [
        _tick(model, pk),
        (
            f"UPDATE _syncreset_row SET base = {_bases(changed)}, local = {_times(changed)}{origin} "
            f"WHERE model = {text(model.name)} AND pk = {pk}"
        ),
    ]


def _deleted(model: ModelSchema, pk: str) -> list[str]:
    """A row that never left this device just vanishes."""
    name = text(model.name)
    scope = "NULL" if model.scope is None else f"OLD.{quote(model.scope)}"
    return [
        _tick(model, pk),
        f"DELETE FROM _syncreset_deleted WHERE model = {name} AND pk = {pk}",
        (
            "INSERT INTO _syncreset_deleted (model, pk, at, base, clocks, pulled, scope, checkpoint) "
            "SELECT r.model, r.pk, c.last, CASE WHEN r.base IS NULL THEN r.known ELSE r.updated END, "
            f"json_patch(r.clocks, r.local), 0, {scope}, "
            "(SELECT json_extract(value, '$') FROM _syncreset_meta WHERE name = 'checkpoint') "
            f"FROM _syncreset_row r, _syncreset_clock c WHERE r.model = {name} AND r.pk = {pk} AND ("
            "r.base IS NOT NULL OR r.known IS NOT NULL OR EXISTS ("
            f"SELECT 1 FROM _syncreset_outbox o WHERE o.model = {name} AND o.pk = {pk} AND NOT o.acked))"
        ),
        f"DELETE FROM _syncreset_row WHERE model = {name} AND pk = {pk}",
        f"DELETE FROM _syncreset_step WHERE model = {name} AND pk = {pk} AND seq IS NULL",
    ]


def _bases(names: str) -> str:
    clock = "coalesce(json_extract(clocks, '$.\"' || n.name || '\"'), json_extract(clocks, '$.\"*\"'), 0)"
    return (
        "CASE WHEN base IS NOT NULL THEN json_patch("
        f"(SELECT json_group_object(n.name, {clock}) FROM ({names}) n), base) END"
    )


#: A step's id, which nothing else has ever had.
_STEP_ID = "lower(hex(randomblob(16)))"


def _boxed(field: FieldSchema, value: str) -> str:
    """A value, which may be null, and the id of the step that leads away from it, as a JSON array."""
    return (
        f"json_array(json({value}), {_STEP_ID})"
        if field.storage == "json"
        else f"json_array({value}, {_STEP_ID})"
    )


def _from_nothing(model: ModelSchema) -> str:
    """The origins of a new row: its counters and sets are steps from nothing."""
    parts = [f"{text(field.name)}, json_array(NULL, {_STEP_ID})" for field in model.stepped]
    return f"json_object({', '.join(parts)})"


def _origins(values: str) -> str:
    """The origins with those of fields whose step begins."""
    return (
        "json_patch(origin, (SELECT json_group_object(v.name, json(v.value)) "
        f"FROM ({values}) v WHERE json_type(origin, '$.\"' || v.name || '\"') IS NULL))"
    )


def _times(names: str) -> str:
    return (
        f"json_patch(local, (SELECT json_group_object(n.name, c.last) FROM ({names}) n, _syncreset_clock c))"
    )


def _union(selects: list[str]) -> str:
    return " UNION ALL ".join(selects) or "SELECT '' AS name WHERE 0"
