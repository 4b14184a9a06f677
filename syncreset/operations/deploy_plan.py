"""What the unapplied migrations would mean for clients: what breaks, who must reset, and what waits for a person then.

Told before a deploy, with the new code and the old database: the state that the applied migrations describe is
compared with the one that all of them do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.migrations import operations as ops
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import Count, Q, Sum

from ..clients.client import Client
from ..protocol.compatibility import Difference, breaking_changes, differences
from ..recovery.upcast.carry import fates
from ..recovery.upcast.plan import Fate
from ..recovery.upcast.register import RegisteredUpcaster, upcasters
from ..tracking.fields import CLOCK_FIELDS, FieldTimestampsField, LastUpdatedField
from ..tracking.options import SyncOptions
from ..tracking.register import registered_models, registration_of
from ..wire.model import model_labelled, wire_model, wire_models
from ..wire.schema import PublishedSchema, current_schema, describe_model, document_of, published


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One difference, what becomes of the unsynced values it is about, and what can be done about that."""

    difference: Difference
    fates: tuple[Fate, ...] = ()
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class AffectedClients:
    """How many clients go on, must reset for the sake of the deploy, or had to anyway.

    ``unsynced`` of those who must reset hold ``changes`` changes that the server has not got, as they last reported.
    """

    total: int = 0
    go_on: int = 0
    must_reset: int = 0
    unsynced: int = 0
    changes: int = 0
    already_due: int = 0


@dataclass(frozen=True, kw_only=True)
class DeployPlan:
    """What a deploy would do to clients. ``drifted``: the models differ from what the migrations make of them."""

    migrations: tuple[str, ...]
    planned: tuple[Planned, ...]
    clients: AffectedClients
    renamed: Mapping[str, Mapping[str, str]]
    renamed_from: Mapping[str, Sequence[str]]
    upcasters: Sequence[RegisteredUpcaster]
    drifted: bool

    @property
    def breaking(self) -> bool:
        return any(planned.difference.breaking for planned in self.planned)


def plan_deploy(using: str = DEFAULT_DB_ALIAS) -> DeployPlan:
    """Compare the schema of the applied migrations with that of all migrations there are. Changes nothing."""
    executor = MigrationExecutor(connections[using])
    unapplied, before, after = _states(executor)
    newest = PublishedSchema.objects.order_by("-at").values_list("document", flat=True).first()
    old, new = _as_published(_document(before), newest), _document(after)
    aliases = {label: model for model, labels in _renamed_from().items() for label in labels}
    suggested = list(_suggestions(unapplied))
    known = _fates_by_place(old)
    return DeployPlan(
        migrations=tuple(f"{migration.app_label}.{migration.name}" for migration in unapplied),
        planned=tuple(
            _planned(difference, known, suggested)
            for difference in differences(old, new)
            if not (difference.kind == "model_added" and difference.model in aliases.values())
        ),
        clients=_affected(newest or old, new),
        renamed={
            model.label: dict(model.options.renamed) for model in wire_models() if model.options.renamed
        },
        renamed_from=_renamed_from(),
        upcasters=upcasters(),
        drifted=bool(differences(new, current_schema())),
    )


def _states(executor: MigrationExecutor) -> tuple[list[Migration], ProjectState, ProjectState]:
    """The migrations that are not applied, and the project's state before and after them."""
    loader = executor.loader
    applied = {loader.graph.nodes[key] for key in loader.applied_migrations if key in loader.graph.nodes}
    plan = [
        migration for migration, _ in executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    ]
    before = ProjectState(real_apps=loader.unmigrated_apps)
    for migration in plan:
        if migration in applied:
            migration.mutate_state(before, preserve=False)
    after = before.clone()
    unapplied = [migration for migration in plan if migration not in applied]
    for migration in unapplied:
        migration.mutate_state(after, preserve=False)
    return unapplied, before, after


def _document(state: ProjectState) -> dict[str, Any]:
    """The schema of a state's tracked models. What ``SyncMeta`` says is in no migration: that of now holds for both."""
    registered = {wire_model(model).label: registration_of(model) for model in registered_models()}
    aliases = {label: model for model, labels in _renamed_from().items() for label in labels}
    described = []
    for model in state.apps.get_models():
        label = wire_model(model).label
        registration = registered.get(label)
        if (
            not (_has_clocks(model) or registration is not None)
            or model._meta.proxy
            or not model._meta.managed
        ):
            continue
        known = model_labelled(aliases.get(label, label))
        options = SyncOptions() if known is None else known.options
        names = None if registration is None else registration["fields"]
        described.append(describe_model(wire_model(model), options, names=names))
    return document_of(described)


def _as_published(document: Mapping[str, Any], newest: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The document, with what ``SyncMeta`` said when the schema was last published, as far as clients can tell."""
    published_fields = {
        (model["name"], field["name"]): field
        for model in (newest or {}).get("models", ())
        for field in model["fields"]
    }

    def as_told(model: Mapping[str, Any], field: Mapping[str, Any]) -> dict[str, Any]:
        said = published_fields.get((model["name"], field["name"]), field)
        kept = {name: value for name, value in field.items() if name not in ("read_only", "counter")}
        return kept | {name: said[name] for name in ("read_only", "counter") if name in said}

    return document_of(
        {**model, "fields": [as_told(model, field) for field in model["fields"]]}
        for model in document["models"]
    )


def _has_clocks(model: type[models.Model]) -> bool:
    """Whether a historical model, which inherits nothing, was tracked."""
    kinds = {field.name: type(field) for field in model._meta.concrete_fields}
    last_updated, timestamps = (kinds.get(name, object) for name in CLOCK_FIELDS)
    return issubclass(last_updated, LastUpdatedField) and issubclass(timestamps, FieldTimestampsField)


def _renamed_from() -> dict[str, Sequence[str]]:
    return {model.label: model.options.renamed_from for model in wire_models() if model.options.renamed_from}


# -- what becomes of each difference ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Suggestion:
    """A rename that a migration does, as the declaration that would carry unsynced values over."""

    model: str
    field: str | None
    text: str


def _suggestions(unapplied: Iterable[Migration]) -> Iterator[_Suggestion]:
    for migration in unapplied:
        for operation in _flat(migration.operations):
            app = migration.app_label
            if isinstance(operation, ops.RenameField):
                yield _Suggestion(
                    model=f"{app}.{operation.model_name_lower}",
                    field=operation.old_name,
                    text=f'SyncMeta.renamed = {{"{operation.old_name}": "{operation.new_name}"}}',
                )
            elif isinstance(operation, ops.RenameModel):
                yield _Suggestion(
                    model=f"{app}.{operation.old_name_lower}",
                    field=None,
                    text=f'SyncMeta.renamed_from = "{app}.{operation.old_name_lower}" in {operation.new_name}',
                )


def _flat(operations: Iterable[Operation]) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, ops.SeparateDatabaseAndState):
            yield from _flat(operation.state_operations)
        else:
            yield operation


def _fates_by_place(old: Mapping[str, Any]) -> dict[tuple[str, str | None], list[Fate]]:
    known: dict[tuple[str, str | None], list[Fate]] = {}
    for fate in fates(old):
        known.setdefault((fate.model, fate.field), []).append(fate)
    return known


def _planned(
    difference: Difference,
    known: Mapping[tuple[str, str | None], list[Fate]],
    suggestions: Iterable[_Suggestion],
) -> Planned:
    place = (difference.model, difference.field)
    if difference.kind == "field_added":
        return Planned(difference=difference, advice=_advice_for_added(difference))
    if difference.kind == "read_only":
        return Planned(difference=difference, advice="what clients write to it from now on is refused")
    if not difference.breaking:
        return Planned(difference=difference)
    found = tuple(_fates_of(difference, known))
    if any(fate.kind != "parked" for fate in found):
        return Planned(difference=difference, fates=found)
    declared = next(
        (suggestion.text for suggestion in suggestions if (suggestion.model, suggestion.field) == place),
        None,
    )
    return Planned(difference=difference, fates=found, advice=declared or _advice(difference))


def _fates_of(difference: Difference, known: Mapping[tuple[str, str | None], list[Fate]]) -> Iterator[Fate]:
    yield from known.get((difference.model, difference.field), ())
    if difference.kind == "model_removed":
        # Of a renamed model the fields are told here: to a schema it is another model.
        for (model, field), fates in known.items():
            if model == difference.model and field is not None:
                yield from (fate for fate in fates if fate.kind == "parked")


def _advice(difference: Difference) -> str:
    model, field = difference.model, difference.field
    if difference.kind == "model_removed":
        return f'if it was renamed, say SyncMeta.renamed_from = "{model}"'
    if difference.kind == "field_removed":
        return f'if it was renamed, say SyncMeta.renamed = {{"{field}": "…"}}; else nothing can be done'
    if difference.kind == "primary_key_changed":
        return f'register @upcast("{model}", "<the key\'s field>")'
    return f'register @upcast("{model}", "{field}")'


def _advice_for_added(difference: Difference) -> str:
    """A field that new rows need, and that clients of the older schema do not send."""
    model = model_labelled(difference.model)
    if model is None or difference.field not in model.required:
        return ""
    return "give it a default: a row that an older client makes has no value for it and is refused"


# -- whom it hits -------------------------------------------------------------------------------------------------


def _affected(old: Mapping[str, Any], new: Mapping[str, Any]) -> AffectedClients:
    counted = Client.objects.values("schema").annotate(
        count=Count("pk"), unsynced=Count("pk", filter=Q(pending__gt=0)), changes=Sum("pending")
    )
    total = go_on = must_reset = unsynced = changes = already = 0
    for group in counted.order_by("schema"):
        total += group["count"]
        document = published(group["schema"])
        if document is None or breaking_changes(document, old):
            already += group["count"]
        elif breaking_changes(document, new):
            must_reset += group["count"]
            unsynced += group["unsynced"]
            changes += group["changes"]
        else:
            go_on += group["count"]
    return AffectedClients(
        total=total,
        go_on=go_on,
        must_reset=must_reset,
        unsynced=unsynced,
        changes=changes,
        already_due=already,
    )
