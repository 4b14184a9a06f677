"""Models that nobody has written: fields of every documented type with random options, and rows of legal values.

A drawn model is data (`AnyModel`). `existing` makes it a class with a table and triggers for as long as a test needs
it, and leaves neither behind.
"""

import datetime
import io
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from decimal import Decimal
from tempfile import gettempdir
from typing import Any

from django.apps import apps
from django.core.files.base import ContentFile
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.models import F, Model, Value
from django.db.models.functions import Now
from hypothesis import strategies as st
from PIL import Image

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7
from syncreset.tracking import register as registrations
from syncreset.tracking.register import register
from syncreset.tracking.triggers import install as triggers
from tests.support.registering import forget_models
from tests.support.untracked import drop_triggers
from tests.zoo.models import BigIntegerKeyed, CharKeyed, IntegerKeyed, UUIDKeyed

APP = "zoo"
POSTGRESQL = connection.vendor == "postgresql"

# --- Values --------------------------------------------------------------------------------------------------------

letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
#: Combining and astral characters, line separators, what SQL and JSON escape, and spaces that somebody might strip.
ODD_TEXTS = (
    "",
    " ",
    "e\u0301",
    "\U0001f9a5\u200d",
    "a\u2028b\r\n",
    "%s '\"\\",
    "\ufeff\x7f\x01",
    "{} $1 null",
)
words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)

SMALL, NORMAL, BIG = 2**15, 2**31, 2**63


def texts(longest: int, shortest: int = 0) -> st.SearchStrategy[str]:
    odd = [text for text in ODD_TEXTS if shortest <= len(text) <= longest]
    return st.sampled_from([*odd, "\u00e9" * longest]) | st.text(
        letters, min_size=shortest, max_size=min(longest, 12)
    )


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([low, high, 0, 1]) | st.integers(low, high)


numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.booleans() | numbers | texts(9)
inner_documents = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(5), inner, max_size=3),
    max_leaves=5,
)
documents = st.one_of(
    scalars,
    st.lists(inner_documents, max_size=3),
    st.dictionaries(texts(5), inner_documents, max_size=3),
    st.sampled_from([{}, [], "", 0, False, {"a": None}, [None, [None]], -0.0, 1e23, 5e-324, 2**64]),
)
instants = st.sampled_from(
    [
        datetime.datetime(1, 1, 1, tzinfo=UTC),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
) | st.datetimes(timezones=st.just(UTC))
longest_duration = timedelta(days=106_000_000)
durations = st.sampled_from(
    [timedelta(0), timedelta(microseconds=-1), timedelta(hours=25), longest_duration, -longest_duration]
) | st.timedeltas(-longest_duration, longest_duration)
floats = st.sampled_from(
    [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, 1e16, float("inf"), -float("inf")]
    + ([float("nan")] if POSTGRESQL else [])
) | st.floats(allow_nan=False).map(lambda number: number + 0.0)
fours = st.ip_addresses(v=4).map(str)
sixes = st.ip_addresses(v=6).map(str)


def decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    high = 10**digits - 1
    return integers(-high, high).map(lambda number: Decimal(f"{number}e-{places}"))


# --- Fields --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Column:
    """A field to be: its class, its options, and the values that rows have."""

    name: str = ""
    kind: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    values: st.SearchStrategy[Any] = field(repr=False, default_factory=st.none)

    def make(self) -> Any:
        return self.kind(**self.options)

    def but(self, **options: Any) -> "Column":
        return replace(self, options={**self.options, **options})


class Tagged(json.JSONDecoder):
    """Reads whole documents as they are, by a class of the project's."""


def plain_columns() -> st.SearchStrategy[Column]:
    """A field of any documented type that holds a value of its own, with the options that its type asks for."""

    def column(kind: type[Any], values: st.SearchStrategy[Any], **options: Any) -> st.SearchStrategy[Column]:
        return st.just(Column(kind=kind, values=values, options=options))

    def char(longest: int) -> Column:
        return Column(kind=models.CharField, values=texts(longest), options={"max_length": longest})

    def decimal(shape: tuple[int, int]) -> Column:
        digits, places = shape
        options = {"max_digits": digits, "decimal_places": places}
        return Column(kind=models.DecimalField, values=decimals(digits, places), options=options)

    def address(options: dict[str, Any]) -> Column:
        values = {"both": fours | sixes | st.just("::ffff:1.2.3.4"), "IPv4": fours, "IPv6": sixes}
        return Column(kind=models.GenericIPAddressField, values=values[options["protocol"]], options=options)

    def document(options: dict[str, Any]) -> Column:
        return Column(kind=models.JSONField, values=documents, options=options)

    # SQLite keeps decimals as binary64.
    most_digits = 40 if POSTGRESQL else 15
    shapes = st.integers(1, most_digits).flatmap(
        lambda digits: st.tuples(st.just(digits), st.integers(0, digits))
    )
    coders: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [{}, {"encoder": DjangoJSONEncoder}, {"decoder": Tagged}]
    )
    protocols = st.sampled_from([{"protocol": "both"}, {"protocol": "IPv4"}, {"protocol": "IPv6"}])
    return st.one_of(
        column(models.BigIntegerField, integers(-BIG, BIG - 1)),
        column(models.BinaryField, st.binary(max_size=40) | st.just(bytes(range(256)))),
        column(models.BinaryField, st.binary(max_size=9), max_length=9, editable=True),
        column(models.BooleanField, st.booleans()),
        st.integers(1, 40).map(char),
        column(models.DateField, st.sampled_from([datetime.date.min, datetime.date.max]) | st.dates()),
        column(models.DateTimeField, instants),
        shapes.map(decimal),
        column(models.DurationField, durations),
        column(models.EmailField, st.builds("{}@{}.org".format, words, words)),
        column(models.FilePathField, texts(30), path=gettempdir(), recursive=True),
        column(models.FloatField, floats),
        protocols.map(address),
        st.just(address({"protocol": "both", "unpack_ipv4": True})),
        column(models.IntegerField, integers(-NORMAL, NORMAL - 1)),
        coders.map(document),
        column(models.PositiveBigIntegerField, integers(0, BIG - 1)),
        column(models.PositiveIntegerField, integers(0, NORMAL - 1)),
        column(models.PositiveSmallIntegerField, integers(0, SMALL - 1)),
        column(models.SlugField, st.from_regex(r"[a-zA-Z0-9_-]{1,50}", fullmatch=True)),
        column(models.SlugField, words.map("{}-\u00e9\u540d".format), allow_unicode=True, max_length=20),
        column(models.SmallIntegerField, integers(-SMALL, SMALL - 1)),
        column(models.TextField, texts(300)),
        column(models.TextField, texts(20), max_length=20),
        column(models.TimeField, st.sampled_from([datetime.time.min, datetime.time.max]) | st.times()),
        column(models.URLField, words.map("https://{}.example.org/\u00e9?q=1#x".format)),
        column(models.UUIDField, st.uuids()),
    )


NO_CHOICES = (models.BinaryField, models.JSONField, models.FilePathField, models.FloatField)
NOT_UNIQUE = (*NO_CHOICES, models.BooleanField, models.TextField)
IN_THE_DATABASE: Mapping[type[Any], tuple[Any, ...]] = {
    models.IntegerField: (5, -1),
    models.CharField: ("", "abc"),
    models.TextField: ("it's",),
    models.BooleanField: (True,),
    models.DateTimeField: (Now(),),
    models.FloatField: (0.5,),
}


@st.composite
def with_options(draw: st.DrawFn, column: Column) -> Column:
    """The column with some of the options that every field takes."""
    options: dict[str, Any] = {
        "null": draw(st.booleans()),
        "blank": draw(st.booleans()),
        "verbose_name": draw(st.sampled_from([None, "Gr\u00f6\u00dfe % %s", "\u540d\u524d"])),
        "help_text": draw(st.sampled_from(["", "<b>%(x)s</b>"])),
        "db_comment": draw(st.sampled_from([None, "it's \u00fc"])),
        "db_index": column.kind is not models.TextField and draw(st.booleans()),
    }
    if column.kind is models.GenericIPAddressField:
        options["blank"] = options["null"]
    if "editable" not in column.options:
        options["editable"] = draw(st.booleans())
    unique = not issubclass(column.kind, NOT_UNIQUE) and draw(st.integers(0, 4)) == 0
    values = column.values
    if unique:
        options["unique"] = True
    elif (
        column.kind not in NO_CHOICES and "unpack_ipv4" not in column.options and draw(st.integers(0, 4)) == 0
    ):
        chosen = draw(st.lists(column.values, min_size=1, max_size=3, unique=True))
        options["choices"] = draw(st.sampled_from([_flat, _grouped, _called]))(chosen)
        values = st.sampled_from(chosen)
    default = draw(st.integers(0, 3))
    if default == 0:
        value = draw(values)
        callable_ = isinstance(value, dict | list) or draw(st.booleans())
        options["default"] = (lambda: value) if callable_ else value
    elif default == 1 and column.kind in IN_THE_DATABASE and "choices" not in options:
        options["db_default"] = draw(st.sampled_from(IN_THE_DATABASE[column.kind]))
    if column.kind in (models.CharField, models.TextField) and not unique:
        collation = draw(st.sampled_from([None, None, "C" if POSTGRESQL else "NOCASE"]))
        options["db_collation"] = collation
    if options["null"]:
        values = st.none() | values
    if options["blank"] and column.kind in (models.CharField, models.EmailField, models.SlugField):
        values |= st.just("") if not unique else st.nothing()
    if column.kind is models.JSONField:
        values |= st.just(Value(None, models.JSONField()))
    return replace(column.but(**options), values=values)


def _flat(chosen: Sequence[Any]) -> list[tuple[Any, str]]:
    return [(value, f"no. {place} \u2026") for place, value in enumerate(chosen)]


def _grouped(chosen: Sequence[Any]) -> list[tuple[str, list[tuple[Any, str]]]]:
    return [("all", _flat(chosen))]


def _called(chosen: Sequence[Any]) -> Callable[[], list[tuple[Any, str]]]:
    return lambda: _flat(chosen)


class Size(models.TextChoices):
    """Choices of a class, whose members are texts."""

    SMALL = "s", "small"
    LARGE = "l", "large"


class Stage(models.IntegerChoices):
    """Choices of a class, whose members are numbers."""

    EGG = -1
    ADULT = 7


ENUMERATED = (
    Column(
        kind=models.CharField,
        options={"max_length": 1, "choices": Size.choices, "default": Size.SMALL},
        values=st.sampled_from(Size),
    ),
    Column(
        kind=models.SmallIntegerField,
        options={"choices": Stage, "null": True},
        values=st.none() | st.sampled_from(Stage),
    ),
)


def server_columns() -> st.SearchStrategy[Column]:
    """A field whose value only the server knows: moments of saving, and files."""
    return st.sampled_from(
        [
            Column(kind=models.DateTimeField, options={"auto_now": True}),
            Column(kind=models.DateTimeField, options={"auto_now_add": True}),
            Column(kind=models.DateField, options={"auto_now_add": True}),
            Column(kind=models.TimeField, options={"auto_now": True}),
            Column(kind=models.FileField, options={"upload_to": "any", "null": True}),
            Column(kind=models.FileField, options={"blank": True}),
            Column(kind=models.ImageField, options={"upload_to": "any", "blank": True}),
        ]
    )


def keys(*, numbered: bool) -> st.SearchStrategy[Column]:
    """A primary key of any type that can travel; ``numbered``: also of those that the database gives out."""

    def key(kind: type[Any], values: st.SearchStrategy[Any], **options: Any) -> st.SearchStrategy[Column]:
        return st.just(Column(kind=kind, values=values, options={"primary_key": True, **options}))

    written = texts(30, shortest=1)
    given_out = st.sampled_from([models.AutoField, models.BigAutoField, models.SmallAutoField]).flatmap(
        lambda kind: key(kind, st.integers(1, SMALL - 1))
    )
    return st.one_of(
        *([given_out] if numbered else []),
        key(models.UUIDField, st.uuids(), default=uuid7),
        key(models.UUIDField, st.uuids(), default=uuid.uuid4, editable=False),
        key(models.CharField, written, max_length=40),
        key(models.TextField, written),
        key(models.SlugField, words),
        key(models.IntegerField, integers(-NORMAL, NORMAL - 1)),
        key(models.BigIntegerField, integers(-BIG, BIG - 1)),
        key(models.PositiveSmallIntegerField, integers(0, SMALL - 1)),
    )


def targets() -> st.SearchStrategy[Column]:
    """A unique field that foreign keys of other models may point to."""

    def target(kind: type[Any], values: st.SearchStrategy[Any], **options: Any) -> st.SearchStrategy[Column]:
        return st.just(Column(kind=kind, values=values, options={"unique": True, **options}))

    return st.one_of(
        target(models.CharField, texts(30, shortest=1), max_length=30),
        target(models.UUIDField, st.uuids()),
        target(models.IntegerField, integers(-NORMAL, NORMAL - 1)),
        target(models.BigIntegerField, integers(-BIG, BIG - 1)),
        target(models.DateField, st.dates()),
        target(models.DateTimeField, instants),
        target(models.TimeField, st.times()),
        target(models.DurationField, durations),
        target(models.DecimalField, decimals(9, 3), max_digits=9, decimal_places=3),
        target(models.GenericIPAddressField, fours | sixes),
    )


# --- Names ---------------------------------------------------------------------------------------------------------

#: Reserved words, names that the triggers' own SQL uses, letters of other scripts.
FIELD_NAMES = (
    "gr\u00f6\u00dfe",
    "\u540d\u524d",
    "Select",
    "order",
    "updated",
    "model",
    "row",
    "scope",
    "at",
    "kind",
    "ts",
    "entered_at",
    "rowid",
    "base",
    "a1",
    "a2",
    "a3",
    "a4",
    "a5",
)
COLUMN_NAMES = (
    "with space",
    "it's",
    "UPPER",
    "group",
    "\u00fcmlaut",
    "{table}",
    "back\\slash",
    "a.b",
    "a;--b",
    "entered_at",
    "clocks",
    "oid",
    "NEW",
    *(() if POSTGRESQL else ("100%", "$1")),
)
TABLE_NAMES = ("", "", "Odd table", "it's", "select", "gr\u00f6\u00dfe", "a.b", "{table}")


# --- Models --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A relation to be. ``to``: a class, ``"self"``, or the other generated model: ``"other"``, ``"proxy"``."""

    name: str
    kind: type[Any]
    to: Any
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnyModel:
    """Two models, of which one may refer to the other, and their rows.

    ``rows`` are of the model itself: field name to value, of a relation the place of the row that it points to (of a
    many-to-many field: the places). ``edits`` are written over some of them afterwards.
    """

    name: str
    table: str
    registered: bool
    ordering: tuple[str, ...]
    key: Column | Relation
    columns: tuple[Column, ...]
    generated: tuple[str, bool] | None
    relations: tuple[Relation, ...]
    other_key: Column
    other_code: Column
    other_rows: tuple[Mapping[str, Any], ...]
    rows: tuple[Mapping[str, Any], ...]
    edits: tuple[tuple[int, str], ...]


@st.composite
def any_model(draw: st.DrawFn, *, by_devices: bool = False) -> AnyModel:
    """A model as somebody may write it, with rows. ``by_devices``: rows that devices may make as well."""
    numbered = not by_devices
    names = draw(st.permutations(FIELD_NAMES))
    plain = [draw(with_options(draw(plain_columns()))) for _ in range(draw(st.integers(3, 9)))]
    plain += draw(st.lists(st.sampled_from(ENUMERATED), max_size=1))
    plain += draw(st.lists(server_columns(), max_size=2))
    taken = iter(names)
    columns = [replace(column, name=next(taken)) for column in plain]
    if by_devices:
        columns = [_of_devices(column) for column in columns]
    odd = iter(draw(st.permutations(COLUMN_NAMES)))
    used = {column.name.lower() for column in columns}
    for place, column in enumerate(columns):
        other_name = next(odd)
        if draw(st.booleans()) and other_name.lower() not in used:
            columns[place] = column.but(db_column=other_name)
    copied = draw(st.sampled_from([None, *(column.name for column in columns if _may_be_copied(column))]))
    other_key, other_code = draw(keys(numbered=numbered)), draw(targets())
    others = draw(st.integers(1, 3))
    other_rows = _rows(draw, [replace(other_key, name="key"), replace(other_code, name="code")], others)
    key: Column | Relation = replace(draw(keys(numbered=numbered)), name="key")
    count = draw(st.integers(1, 4))
    if draw(st.integers(0, 4)) == 0:
        kind = draw(st.sampled_from([models.OneToOneField, models.ForeignKey]))
        key = Relation(name="key", kind=kind, to="other", options={"primary_key": True})
        count = min(count, others)
    possible = [relation for relation in RELATIONS if not (_is_numbered(key) and relation.to == "self")]
    relations = tuple(
        draw(st.lists(st.sampled_from(possible), max_size=4, unique_by=lambda relation: relation.name))
    )
    rows = _rows(draw, [*columns, *([key] if isinstance(key, Column) else [])], count)
    for place, row in enumerate(rows):
        if isinstance(key, Relation):
            row["key"] = place
        for relation in relations:
            row[relation.name] = draw(_pointing(relation, place, count, others))
    named = [column.name for column in columns]
    return AnyModel(
        name=draw(st.sampled_from(["Creature", "\u00c6on", "Select"])),
        table=draw(st.sampled_from(TABLE_NAMES)),
        registered=draw(st.integers(0, 2)) == 0,
        ordering=tuple(draw(st.lists(st.sampled_from(named), max_size=2, unique=True))),
        key=key,
        columns=tuple(columns),
        generated=None if copied is None else (copied, POSTGRESQL or draw(st.booleans())),
        relations=relations,
        other_key=other_key,
        other_code=other_code,
        other_rows=tuple(other_rows),
        rows=tuple(rows),
        edits=tuple(draw(st.lists(st.tuples(st.integers(0, count - 1), st.sampled_from(named)), max_size=3))),
    )


def _may_be_copied(column: Column) -> bool:
    """Whether a generated column may be computed from it: not from one with a name that Django cannot write there."""
    return not _is_servers(column) and "%" not in (column.options.get("db_column") or "")


def _of_devices(column: Column) -> Column:
    """Another value in place of those that only a server writes: floats that are no numbers, JSON's null for SQL's."""

    def allowed(value: Any) -> Any:
        if isinstance(value, Value) and not column.options["null"]:
            return {}
        return 0.5 if isinstance(value, float) and not math.isfinite(value) else value

    return replace(column, values=column.values.map(allowed))


def _is_numbered(key: Column | Relation) -> bool:
    """Whether a person decides on each lost row by itself, so that none can wait for another one of its kind."""
    return key.kind in (models.AutoField, models.BigAutoField, models.SmallAutoField)


def _is_servers(column: Column) -> bool:
    return issubclass(column.kind, models.FileField) or bool(
        column.options.keys() & {"auto_now", "auto_now_add"}
    )


def _rows(draw: st.DrawFn, columns: Sequence[Column], count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for column in columns:
        one = column.options.keys() & {"unique", "primary_key"}
        values = (
            draw(st.lists(column.values, min_size=count, max_size=count, unique=True))
            if one
            else [draw(column.values) for _ in rows]
        )
        for row, value in zip(rows, values, strict=True):
            if not _is_servers(column):
                row[column.name] = value
    return rows


#: Where rows of the drawn model are pointed to by their place.
PLACES = ("self", "other", "proxy")

RELATIONS = (
    Relation(
        name="parent",
        kind=models.ForeignKey,
        to="self",
        options={"null": True, "on_delete": models.SET_NULL},
    ),
    Relation(name="myself", kind=models.ForeignKey, to="self", options={"on_delete": models.CASCADE}),
    Relation(name="owner", kind=models.ForeignKey, to="other", options={"on_delete": models.PROTECT}),
    Relation(name="by_proxy", kind=models.ForeignKey, to="proxy", options={"on_delete": models.RESTRICT}),
    Relation(
        name="by_code",
        kind=models.ForeignKey,
        to="other",
        options={"to_field": "code", "null": True, "on_delete": models.DO_NOTHING, "db_column": "by code"},
    ),
    Relation(
        name="partner",
        kind=models.OneToOneField,
        to="self",
        options={"null": True, "on_delete": models.SET_NULL},
    ),
    Relation(name="to_char", kind=models.ForeignKey, to=CharKeyed, options={"on_delete": models.CASCADE}),
    Relation(
        name="to_integer",
        kind=models.ForeignKey,
        to=IntegerKeyed,
        options={"on_delete": models.SET_NULL, "null": True, "db_constraint": False},
    ),
    Relation(
        name="to_big", kind=models.ForeignKey, to=BigIntegerKeyed, options={"on_delete": models.CASCADE}
    ),
    Relation(name="to_uuid", kind=models.ForeignKey, to=UUIDKeyed, options={"on_delete": models.CASCADE}),
    Relation(name="others", kind=models.ManyToManyField, to="other"),
    Relation(name="proxies", kind=models.ManyToManyField, to="proxy", options={"db_table": "odd'pairs"}),
    Relation(name="friends", kind=models.ManyToManyField, to="self"),
    Relation(name="fans", kind=models.ManyToManyField, to="self", options={"symmetrical": False}),
    Relation(name="chars", kind=models.ManyToManyField, to=CharKeyed, options={"blank": True}),
)


def _pointing(relation: Relation, place: int, count: int, others: int) -> st.SearchStrategy[Any]:
    """The place, or places, of the rows that a row may point to."""
    end = count if relation.to == "self" else others if relation.to in ("other", "proxy") else 1
    if relation.kind is models.ManyToManyField:
        return st.lists(st.integers(0, end - 1), max_size=3, unique=True)
    if relation.name == "myself":
        return st.just(place)
    if relation.kind is models.OneToOneField:
        return st.just((place + 1) % count)
    one = st.integers(0, end - 1)
    return st.none() | one if relation.options.get("null") else one


def related_in_every_way(*, null: bool = False) -> AnyModel:
    """A model with every relation at once, and columns that the triggers' own SQL might trip over.

    With ``null`` the columns hold JSON's null, and could hold SQL's. Where they cannot, no client may bring one.
    """
    key = Column(name="key", kind=models.UUIDField, options={"primary_key": True})
    odd = [
        Column(name=name, kind=models.JSONField, options={"db_column": name, "null": null})
        for name in ("{table}", "began", "ts", "clocks")
    ]
    columns = [replace(column, name=f"a{place}") for place, column in enumerate(odd)]
    rows: list[dict[str, Any]] = []
    for place in range(2):
        row: dict[str, Any] = {"key": uuid.UUID(int=place + 1)}
        held = Value(None, models.JSONField()) if null else {"row": place}
        row |= {column.name: held for column in columns}
        for relation in RELATIONS:
            several = relation.kind is models.ManyToManyField
            row[relation.name] = [0] if several else place if relation.to in PLACES else 0
        rows.append(row)
    return AnyModel(
        name="Related",
        table="{table}",
        registered=False,
        ordering=(),
        key=key,
        columns=tuple(columns),
        generated=None,
        relations=RELATIONS,
        other_key=Column(kind=models.CharField, options={"primary_key": True, "max_length": 9}),
        other_code=Column(kind=models.DateTimeField, options={"unique": True}),
        other_rows=tuple(
            {"key": name, "code": datetime.datetime(year, 1, 1, tzinfo=UTC)}
            for name, year in (("a b", 1), ("\u00fc", 9999))
        ),
        rows=tuple(rows),
        edits=((0, "a0"),),
    )


# --- Classes, tables and rows --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Existing:
    """The classes of a drawn model, with tables and triggers."""

    drawn: AnyModel
    model: Any
    other: Any

    @property
    def both(self) -> tuple[Any, Any]:
        """The models, parents first."""
        return self.other, self.model

    def write_rows(self) -> None:
        """Write the drawn rows by the ORM, each in several statements, so that their fields' clocks differ."""
        fixed = {
            CharKeyed: CharKeyed.objects.create(code='q"uo\\te \U0001f9a5'),
            IntegerKeyed: IntegerKeyed.objects.create(number=-7),
            BigIntegerKeyed: BigIntegerKeyed.objects.create(number=2**60),
            UUIDKeyed: UUIDKeyed.objects.create(),
        }
        others = [self.other._base_manager.create(**row) for row in self.drawn.other_rows]
        made = [self._instance(row, others, fixed) for row in self.drawn.rows]
        for row, instance in zip(self.drawn.rows, made, strict=True):
            for relation in self.drawn.relations:
                wanted = row[relation.name]
                near = made if relation.to == "self" else others
                if relation.kind is models.ManyToManyField:
                    chosen = (
                        [near[place] for place in wanted] if relation.to in PLACES else [fixed[relation.to]]
                    )
                    getattr(instance, relation.name).set([row.pk for row in chosen])
                elif relation.to == "self" and wanted is not None:
                    setattr(instance, relation.name, made[wanted])
                    instance.save(update_fields=[relation.name])
        for place, name in self.drawn.edits:
            column = next(column for column in self.drawn.columns if column.name == name)
            if name in self.drawn.rows[place] and not column.options.get("unique"):
                last = self.drawn.rows[-1][name]
                self.model._base_manager.filter(pk=made[place].pk).update(**{name: last})

    def _instance(self, row: Mapping[str, Any], others: list[Any], fixed: Mapping[Any, Any]) -> Any:
        instance = self.model(
            **{column.name: row[column.name] for column in self._own() if column.name in row}
        )
        for relation in (self.drawn.key, *self.drawn.relations):
            if not isinstance(relation, Relation) or relation.kind is models.ManyToManyField:
                continue
            place = row[relation.name]
            attname = self.model._meta.get_field(relation.name).attname
            if place is None:
                continue
            if relation.to in ("other", "proxy"):
                code = relation.options.get("to_field", "pk")
                setattr(instance, attname, getattr(others[place], code))
            elif relation.to != "self":
                setattr(instance, attname, fixed[relation.to].pk)
            elif relation.name == "myself":
                setattr(instance, attname, instance.pk)
        for column in self._own():
            if issubclass(column.kind, models.FileField):
                held = getattr(instance, column.name)
                held.save("a b.png", ContentFile(PICTURE), save=False)
        instance.save(force_insert=True)
        return instance

    def _own(self) -> list[Column]:
        return [*self.drawn.columns, *([self.drawn.key] if isinstance(self.drawn.key, Column) else [])]


def _picture() -> bytes:
    target = io.BytesIO()
    Image.new("1", (2, 3)).save(target, "png")
    return target.getvalue()


PICTURE = _picture()


@contextmanager
def existing(drawn: AnyModel) -> Iterator[Existing]:
    """The drawn model, tracked, while the block runs. Not within a transaction: SQLite makes no tables in one."""
    known = dict(apps.all_models[APP])
    made = _classes(drawn)
    registered = [made.model, made.other] if drawn.registered else []
    try:
        for model in registered:
            names = [column.name for column in model._meta.concrete_fields if not column.primary_key]
            names += [relation.name for relation in model._meta.local_many_to_many]
            register(model, fields=names)
        _forget_answers()
        for model in made.both:
            with connection.schema_editor() as editor:
                editor.create_model(model)
        triggers.install(connection, made.both)
        yield made
    finally:
        tables = connection.introspection.table_names()
        for model in reversed(made.both):
            drop_triggers(model)
            if model._meta.db_table in tables:
                with connection.schema_editor() as editor:
                    editor.delete_model(model)
        for model in registered:
            registrations._REGISTERED.pop(model, None)
        apps.all_models[APP].clear()
        apps.all_models[APP].update(known)
        apps.clear_cache()
        _forget_answers()


def _forget_answers() -> None:
    forget_models()


def _classes(drawn: AnyModel) -> Existing:
    base = models.Model if drawn.registered else SyncTrackedModel
    other = _class(
        "Other",
        base,
        {"key": drawn.other_key.make(), "code": drawn.other_code.make()},
        {"db_table": drawn.table and f"{drawn.table} too"},
    )
    proxy = type("Proxy", (other,), {"__module__": __name__, "Meta": _meta({"proxy": True})})
    to = {"other": other, "proxy": proxy}
    attributes: dict[str, Any] = {}
    for relation in (drawn.key, *drawn.relations):
        if isinstance(relation, Relation):
            target = relation.to if relation.to == "self" else to.get(relation.to, relation.to)
            options = dict(relation.options)
            if relation.kind is not models.ManyToManyField:
                options.setdefault("on_delete", models.CASCADE)
            attributes[relation.name] = relation.kind(target, related_name="+", **options)
        else:
            attributes[relation.name] = relation.make()
    attributes |= {column.name: column.make() for column in drawn.columns}
    if drawn.generated is not None:
        name, stored = drawn.generated
        source = next(column for column in drawn.columns if column.name == name)
        output = source.kind(**{key: source.options[key] for key in OF_TYPE if key in source.options})
        copied: Any = F(name)
        attributes["generated"] = models.GeneratedField(
            expression=copied, output_field=output, db_persist=stored
        )
    meta = {"db_table": drawn.table, "ordering": drawn.ordering, "db_table_comment": "it's"}
    return Existing(drawn=drawn, model=_class(drawn.name, base, attributes, meta), other=other)


OF_TYPE = (
    "max_length",
    "max_digits",
    "decimal_places",
    "protocol",
    "unpack_ipv4",
    "encoder",
    "decoder",
    "db_collation",
    "path",
)


def _class(name: str, base: type[Model], attributes: Mapping[str, Any], meta: Mapping[str, Any]) -> Any:
    given = {option: value for option, value in meta.items() if value}
    return type(name, (base,), {**attributes, "__module__": __name__, "Meta": _meta(given)})


def _meta(options: Mapping[str, Any]) -> type:
    return type("Meta", (), {"app_label": APP, **options})
