"""The server's schema as data: models in dependency order, their tables here, their fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...protocol.compatibility import breaking_changes
from ..errors import ProtocolViolation, UnknownModel
from .values import Stepping, Storage, stepping_of, storage_of


@dataclass(frozen=True, kw_only=True)
class FieldSchema:
    """One field: its wire name, the schema's type, how it is stored, and by which steps it is written, if by any."""

    name: str
    type: str
    storage: Storage
    null: bool
    read_only: bool
    to: str | None
    max_length: int | None
    stepping: Stepping | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSchema:
    """One model: its label, its table in the store, its primary key's column, its fields by name."""

    name: str
    table: str
    primary_key: str
    #: The field that says a row's scope; None where rows are everyone's.
    scope: str | None
    fields: Mapping[str, FieldSchema]

    @property
    def stepped(self) -> tuple[FieldSchema, ...]:
        """The counters and sets."""
        return tuple(field for field in self.fields.values() if field.stepping is not None)


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A published schema. ``models`` are in dependency order, parents first."""

    hash: str
    models: Mapping[str, ModelSchema]
    document: Mapping[str, Any]

    def model(self, name: str) -> ModelSchema:
        try:
            return self.models[name]
        except KeyError:
            known = ", ".join(self.models) or "none before the first sync"
            raise UnknownModel(f"there is no model {name!r}; there are: {known}") from None


EMPTY = Schema(hash="", models={}, document={"hash": "", "models": []})


def parse_schema(document: Mapping[str, Any]) -> Schema:
    """The schema of a document as ``GET /schema`` gives it. Raises ProtocolViolation.

    Names become those of tables and columns, so nothing but identifiers is let in.
    """
    models: dict[str, ModelSchema] = {}
    tables: set[str] = set()
    try:
        for raw in document["models"]:
            model = _model(raw, tables)
            models[model.name] = model
            tables.add(model.table.lower())
        return Schema(hash=str(document["hash"]), models=models, document=document)
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtocolViolation(f"the schema is not of the protocol's shape: {error!r}") from error


def only_adds(old: Schema, new: Schema) -> bool:
    """Whether a store made for ``old`` can become one for ``new`` by new tables and columns alone."""
    return not breaking_changes(old.document, new.document)


def _model(raw: Mapping[str, Any], tables: set[str]) -> ModelSchema:
    name = raw["name"]
    if not all(part.isidentifier() for part in name.split(".")) or name.count(".") != 1:
        raise ProtocolViolation(f"{name!r} is not the name of a model")
    table = name.replace(".", "_")
    if table.lower() in tables:
        table = name
    fields = {field["name"]: _field(field) for field in raw["fields"]}
    columns = {column.lower() for column in (*fields, raw["primary_key"])}
    if len(columns) != len(fields) + 1:
        raise ProtocolViolation(
            f"two fields of {name} differ in nothing but capitals, which SQLite cannot keep apart"
        )
    scope = raw.get("scope")
    if scope is not None and scope not in (*fields, raw["primary_key"]):
        raise ProtocolViolation(f"{name} has no field {scope!r} to say the scope of its rows")
    return ModelSchema(
        name=name, table=table, primary_key=_identifier(raw["primary_key"]), scope=scope, fields=fields
    )


def _field(raw: Mapping[str, Any]) -> FieldSchema:
    return FieldSchema(
        name=_identifier(raw["name"]),
        type=str(raw["type"]),
        storage=storage_of(str(raw["type"])),
        null=bool(raw.get("null", True)),
        read_only=bool(raw.get("read_only", False)),
        to=raw.get("to"),
        max_length=raw.get("max_length"),
        stepping=stepping_of(str(raw["type"]), counter=bool(raw.get("counter", False))),
    )


def _identifier(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise ProtocolViolation(f"{name!r} is not the name of a field")
    return name
