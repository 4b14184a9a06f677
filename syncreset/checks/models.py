"""The system checks: what a project may get wrong in declaring what is synced, each with an id and a way out."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import FieldDoesNotExist
from django.db.models import (
    AutoField,
    BigAutoField,
    CharField,
    DecimalField,
    Field,
    ForeignKey,
    IntegerField,
    Model,
    SmallAutoField,
    TextField,
    UUIDField,
)

from ..recovery.upcast.register import upcasters
from ..tracking.fields import CLOCK_FIELDS
from ..tracking.models import SyncTrackedModel
from ..tracking.options import ON_DELETE, POLICIES, SyncOptions, parse_options, unknown_attributes
from ..tracking.register import registration_of
from ..tracking.registry import is_tracked, tracked_models
from ..tracking.triggers.table import stored_field
from ..wire.fields.codec import is_reference_target, is_supported
from ..wire.model import model_labelled, wire_model
from .settings import STRATEGY_HINT, is_strategy

#: Of a primary key, as texts, in the feed and the ledger.
LONGEST_KEY = 255

_KEYS = (UUIDField, CharField, TextField, IntegerField)
_NUMBERED = (AutoField, BigAutoField, SmallAutoField)

_UUID_HINT = (
    "Use `id = models.UUIDField(primary_key=True, default=uuid7, editable=False)` with"
    " `from syncreset.protocol import uuid7`."
)


def check_models(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What the models that inherit `SyncTrackedModel` say of themselves, and what was said at registrations."""
    configs = apps.get_app_configs() if app_configs is None else app_configs
    models = [model for config in configs for model in config.get_models()]
    return [
        message
        for model in models
        if (issubclass(model, SyncTrackedModel) and not model._meta.proxy)
        or registration_of(model) is not None
        for message in check_model(model)
    ]


def check_model(model: type[Model]) -> list[CheckMessage]:
    """What is wrong with one model."""
    messages = [*_check_table(model), *_check_key(model), *_check_attributes(model)]
    try:
        options = parse_options(model)
    except (ImportError, TypeError, ValueError) as error:
        hint = "`read_only` is a list of field names, `conflicts` a dictionary, a function itself or its dotted path."
        return [
            *messages,
            Error(f"SyncMeta cannot be read: {error}", hint=hint, obj=model, id="syncreset.E010"),
        ]
    return [
        *messages,
        *_check_scope(model, options),
        *_check_fields(model, options),
        *_check_choices(model, options),
        *_check_counters(model, options),
        *_check_registration(model, options),
        *_check_sets(model),
        *_check_types(model),
        *_check_names(model),
        *_check_renames(model, options),
    ]


def check_upcasters(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether each function registered with ``@upcast`` is for a field that there is."""
    messages: list[CheckMessage] = []
    for entry in upcasters():
        model = model_labelled(entry.model)
        named = f"@upcast({entry.model!r}, {entry.field!r})"
        if model is None:
            hint = "Name a tracked model as it is called now, such as `shelters.dog`."
            messages.append(Error(f"{named} is for no tracked model.", hint=hint, id="syncreset.E022"))
        elif entry.field not in {model.key.name, *model.columns}:
            hint = "Name the field that takes the value now; `source` names the old one."
            messages.append(
                Error(f"{named} is for no synced field of the model.", hint=hint, id="syncreset.E022")
            )
    return messages


def _check_table(model: type[Model]) -> Iterator[CheckMessage]:
    if model._meta.parents:
        yield Error(
            "A tracked model cannot inherit from a model with a table of its own (multi-table inheritance) yet.",
            hint="Inherit from an abstract model, or give the model a OneToOneField to the other.",
            obj=model,
            id="syncreset.E001",
        )


def _check_key(model: type[Model]) -> Iterator[CheckMessage]:
    pk: Any = wire_model(model).key
    stored = stored_field(pk) if isinstance(pk, Field) else None
    if stored is None or getattr(stored, "column", None) is None or not isinstance(stored, _KEYS):
        yield Error(
            f"A {type(pk).__name__} cannot be the primary key of a tracked model.",
            hint=f"Use a UUID, text or an integer, or a relation to a model keyed by one. {_UUID_HINT}",
            obj=model,
            id="syncreset.E002",
        )
    elif isinstance(pk, _NUMBERED) and registration_of(model) is None:
        yield CheckWarning(
            f"The server's database numbers the rows of {model._meta.label}, so a client that is offline cannot make"
            " any: it would not know the number, and two clients would choose the same.",
            hint=_UUID_HINT,
            obj=model,
            id="syncreset.W001",
        )
    elif isinstance(stored, CharField | TextField) and (stored.max_length or 0) > LONGEST_KEY:
        yield Error(
            f"The keys of {model._meta.label} may have {stored.max_length} characters: an entry holds {LONGEST_KEY}.",
            hint=f"Give the primary key a `max_length` of at most {LONGEST_KEY}, or use a UUID.",
            obj=model,
            id="syncreset.E026",
        )


def _check_types(model: type[Model]) -> Iterator[CheckMessage]:
    for field in wire_model(model).columns.values():
        stored = stored_field(field)
        if not is_supported(stored):
            yield Error(
                f"The values of {field} cannot travel: syncreset knows no {type(stored).__name__}.",
                hint="Use one of Django's own model fields, or a field that derives from one. A model that is tracked"
                " by register() may leave the field out.",
                obj=model,
                id="syncreset.E023",
            )
        elif isinstance(field, ForeignKey) and not is_reference_target(stored):
            yield Error(
                f"{field} points to {field.target_field}, a {type(stored).__name__}, whose values are no keys.",
                hint="Leave out `to_field`, or point to a field of texts, numbers, times or UUIDs.",
                obj=model,
                id="syncreset.E024",
            )


def _check_names(model: type[Model]) -> Iterator[CheckMessage]:
    named: dict[str, str] = {}
    for field in (wire_model(model).key, *wire_model(model).fields.values()):
        other = named.setdefault(field.name.lower(), field.name)
        if other != field.name:
            yield Error(
                f"The fields {other!r} and {field.name!r} differ in nothing but capitals.",
                hint="Name them otherwise: the stores of clients are SQLite, which cannot keep them apart.",
                obj=model,
                id="syncreset.E025",
            )


def _check_attributes(model: type[Model]) -> Iterator[CheckMessage]:
    for name in unknown_attributes(model):
        known = ", ".join(SyncOptions.__dataclass_fields__)
        yield Error(
            f"SyncMeta has no attribute {name!r}.", hint=f"It has: {known}.", obj=model, id="syncreset.E003"
        )


def _check_scope(model: type[Model], options: SyncOptions) -> Iterator[CheckMessage]:
    if options.scope is None:
        return
    field = _field(model, options.scope)
    if field is None or not (isinstance(field, ForeignKey) or field.primary_key):
        yield Error(
            f"SyncMeta.scope = {options.scope!r} names neither a foreign key of the model nor its primary key.",
            hint="A row's scope is said by a column of the row itself. Leave it out where everyone may hold all rows.",
            obj=model,
            id="syncreset.E004",
        )
    elif isinstance(field, ForeignKey):
        if not field.target_field.primary_key:
            yield Error(
                f"SyncMeta.scope = {options.scope!r} points to {field.target_field}, which is not a primary key.",
                hint="Leave out the foreign key's `to_field`.",
                obj=model,
                id="syncreset.E005",
            )
        if field.null:
            yield CheckWarning(
                f"SyncMeta.scope = {options.scope!r} may be null, and no client holds the rows where it is.",
                hint="Make the field required, unless such rows are to stay on the server.",
                obj=model,
                id="syncreset.W002",
            )


def _check_fields(model: type[Model], options: SyncOptions) -> Iterator[CheckMessage]:
    named = {"read_only": options.read_only, "conflicts": [name for name in options.conflicts if name != "*"]}
    for attribute, names in named.items():
        for name in names:
            field = _field(model, name)
            of_row = (
                field is not None
                and not field.primary_key
                and field.name == name
                and name not in CLOCK_FIELDS
            )
            if not of_row and name not in wire_model(model).sets:
                yield Error(
                    f"SyncMeta.{attribute} names {name!r}, which is not a synced field of the model.",
                    hint="Name fields as the model does: `shelter`, not `shelter_id`.",
                    obj=model,
                    id="syncreset.E006",
                )


def _check_choices(model: type[Model], options: SyncOptions) -> Iterator[CheckMessage]:
    for name, policy in options.conflicts.items():
        if not callable(policy) and policy not in POLICIES:
            yield Error(
                f"SyncMeta.conflicts[{name!r}] = {policy!r} is no policy.",
                hint=f"Use one of {', '.join(POLICIES)}, or a function.",
                obj=model,
                id="syncreset.E007",
            )
    if options.on_delete not in ON_DELETE:
        yield Error(
            f"SyncMeta.on_delete = {options.on_delete!r} is unknown.",
            hint=f"Use one of {', '.join(ON_DELETE)}.",
            obj=model,
            id="syncreset.E008",
        )
    if options.recovery is not None and not is_strategy(options.recovery):
        yield Error(
            f"SyncMeta.recovery = {options.recovery!r} is no strategy.",
            hint=STRATEGY_HINT,
            obj=model,
            id="syncreset.E009",
        )
    can_write: object = options.can_write
    if can_write is not None and not callable(can_write):
        yield Error(
            "SyncMeta.can_write is not a function.",
            hint="Give a function `(user, row) -> bool`, or its dotted path.",
            obj=model,
            id="syncreset.E013",
        )


def _check_counters(model: type[Model], options: SyncOptions) -> Iterator[CheckMessage]:
    for name in options.counters:
        field = _field(model, name)
        fits = isinstance(field, IntegerField | DecimalField) and field.name == name and not field.primary_key
        if not fits:
            yield Error(
                f"SyncMeta.counters names {name!r}, which is no integer or decimal field of the model.",
                hint="Sums of integers and decimals are exact and the same everywhere; those of other fields are not.",
                obj=model,
                id="syncreset.E014",
            )


def _check_registration(model: type[Model], options: SyncOptions) -> Iterator[CheckMessage]:
    registered = registration_of(model)
    if registered is None:
        return
    synced = wire_model(model).fields
    for name in registered["fields"]:
        if name not in synced:
            yield Error(
                f"register() of {model._meta.label} names {name!r}, which is not a field that can be synced.",
                hint="Name the model's own fields as the model does, without its primary key.",
                obj=model,
                id="syncreset.E015",
            )
    said = {*options.read_only, *options.counters, *(name for name in options.conflicts if name != "*")}
    said |= {options.scope} if options.scope is not None else set()
    pk: Any = wire_model(model).key
    for name in sorted(said - {*registered["fields"], pk.name}):
        yield Error(
            f"register() of {model._meta.label} says something about {name!r}, which is not among its fields.",
            hint="Only what is named in `fields` is synced. A row's scope is known to its clients: it must be there.",
            obj=model,
            id="syncreset.E016",
        )


def _check_sets(model: type[Model]) -> Iterator[CheckMessage]:
    registered = registration_of(model)
    synced = wire_model(model).sets
    for field in model._meta.local_many_to_many:
        if registered is not None and field.name not in registered["fields"]:
            continue
        declared: Any = field
        through, other = declared.remote_field.through, declared.related_model
        if field.name not in synced and not is_tracked(through):
            yield CheckWarning(
                f"{field} is not synced: its elements are rows of {through._meta.label}, which is not tracked.",
                hint=f"Have {through.__name__} inherit SyncTrackedModel, or leave out `through`.",
                obj=model,
                id="syncreset.W006",
            )
        elif field.name in synced and other is not model and not is_tracked(other):
            yield CheckWarning(
                f"The elements of {field} are rows of {other._meta.label}, which is not tracked: clients get their keys"
                " and can add none.",
                hint=f"Track {other.__name__} as well: let it inherit SyncTrackedModel, or register() it.",
                obj=model,
                id="syncreset.W007",
            )


def _check_renames(model: type[Model], options: SyncOptions) -> Iterator[CheckMessage]:
    synced = wire_model(model).columns
    for old, new in options.renamed.items():
        if old == new or not (new in synced or new in options.renamed):
            yield Error(
                f"SyncMeta.renamed says that {old!r} is {new!r} now, which is no synced field of the model.",
                hint="It maps old names of fields to new ones; a new one may have been renamed again.",
                obj=model,
                id="syncreset.E020",
            )
    for label in options.renamed_from:
        claimed = [
            other._meta.label
            for other in tracked_models()
            if other is not model and label in _former_labels(other)
        ]
        if label.count(".") != 1 or label == wire_model(model).label or claimed:
            yield Error(
                f"SyncMeta.renamed_from names {label!r}, which cannot be what {model._meta.label} was called"
                + (f": {', '.join(claimed)} says so as well." if claimed else "."),
                hint="Name the label that the model had before, such as `shelters.hound`, or a list of them.",
                obj=model,
                id="syncreset.E021",
            )


def _former_labels(model: type[Model]) -> tuple[str, ...]:
    try:
        return parse_options(model).renamed_from
    except (ImportError, TypeError, ValueError):
        return ()  # That this model's SyncMeta cannot be read is told of the model itself.


def _field(model: type[Model], name: Any) -> "Field[Any, Any] | None":
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, Field) and field.concrete else None
