"""Deleting rows with what hangs on them: unless that would take rows the client has never seen, and telling which."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db import models, router
from django.db.models.deletion import Collector

from .. import conf
from ..feed.cursor import Cursor
from ..feed.entries import EntryKind, Knowledge, known_at, sign_entries
from ..protocol.changes import Row, same
from ..tracking.registry import is_tracked
from ..wire.model import WireModel, wire_model, wire_models
from ..wire.rows import read_rows, visible
from .context import Context
from .seen import Moment

#: Rows by model and primary key.
RowsByModel = dict[WireModel, set[Any]]


class UnseenRows(Exception):
    """The deletion would cascade to rows that were made or changed after the client last looked."""


class NotTheirs(Exception):
    """The deletion would cascade to rows that the user may not see, delete or change."""


@dataclass(frozen=True, kw_only=True)
class Cascaded:
    """A row that a deletion changed beside its own, by a cascade, a reference set to null or a set's lost element.

    ``after`` is None where the row was deleted as well.
    """

    model: str
    pk: str
    before: Row
    after: Row | None


def delete_rows(
    model: WireModel,
    instances: Sequence[models.Model],
    deleted_too: Mapping[WireModel, Sequence[models.Model]],
    context: Context,
    deleted_at: Moment,
) -> dict[str, list[Cascaded]]:
    """Delete rows of one model as Django does, cascades and signals included, and tell what went along with each.

    By the wire keys of the rows; ``deleted_too`` are all that are being deleted for themselves, ``deleted_at`` is
    when. Edits beat deletes through cascades as well: raises UnseenRows if a row that the client has not deleted
    itself, and had not seen in its present state, would go along, unless the client alone has touched it since, and
    before it deleted; where an undo deletes, if anything would. Raises NotTheirs if the user may not delete
    or change what would, and ProtectedError and RestrictedError as Django does.
    """
    own = {(kind, row.pk) for kind, rows in deleted_too.items() for row in rows}
    collector = _collected(model, instances)
    cascaded, changed = _affected(collector, own)
    others = _united(cascaded, changed)
    if context.undoing and others:
        raise UnseenRows("other rows refer to this one now")
    if not context.operator:
        _require_rights(cascaded, "delete", context)
        _require_rights(changed, "change", context)
        _require_seen(cascaded, deleted_at, context)
    if not others:
        collector.delete()
        return {}
    shares = {model.key_of(row): _share(model, row, own) for row in instances}
    before = _rows(others)
    known = {kind: _known(kind, pks, context.seen, context) for kind, pks in changed.items()}
    collector.delete()
    if context.of_client:
        for kind, keys in known.items():
            sign_entries(context.signer, kind.label, keys, context.scopes, EntryKind.ROW)
    after = _rows(others)
    taken = {
        key: Cascaded(model=key[0].label, pk=key[1], before=row, after=after.get(key))
        for key, row in before.items()
        if key not in after or not same(row.fields, after[key].fields)
    }
    return {pk: [taken.pop(key) for key in share if key in taken] for pk, share in shares.items()}


def _collected(model: WireModel, instances: Sequence[models.Model]) -> Collector:
    collector = Collector(using=router.db_for_write(model.model), origin=instances[0])
    collector.collect(instances)
    return collector


def _affected(collector: Collector, own: Collection[tuple[Any, Any]]) -> tuple[RowsByModel, RowsByModel]:
    """The rows of tracked models that would be deleted too, and those that would be changed."""
    cascaded: RowsByModel = {}
    changed: RowsByModel = {}
    gone: list[tuple[Any, Iterable[Any]]] = list(collector.data.items())
    gone += [(rows.model, list(rows)) for rows in collector.fast_deletes if hasattr(rows, "model")]
    for kind, rows in gone:
        if is_tracked(kind):
            _add(cascaded, kind, (row.pk for row in rows), own)
        elif kind._meta.auto_created:
            for owner, attname in _owners(kind):
                _add(changed, owner, (getattr(row, attname) for row in rows), own)
    for (field, _), updated in collector.field_updates.items():
        if is_tracked(field.model):
            _add(
                changed, field.model, (row.pk for rows in updated for row in cast("Iterable[Any]", rows)), own
            )
    return cascaded, changed


def _add(found: RowsByModel, kind: Any, keys: Iterable[Any], own: Collection[tuple[Any, Any]]) -> None:
    model = wire_model(kind)
    others = {key for key in keys if (model, key) not in own}
    if others:
        found.setdefault(model, set()).update(others)


def _owners(through: type[models.Model]) -> Iterable[tuple[type[models.Model], str]]:
    """The tracked models whose many-to-many fields a table holds, and its attribute with the owner's key."""
    for model in wire_models():
        for many in model.sets.values():
            field: Any = many
            if field.remote_field.through is through:
                yield model.model, through._meta.get_field(field.m2m_field_name()).attname


def _require_rights(rows: RowsByModel, action: str, context: Context) -> None:
    """What may not be pushed may not come by a cascade either."""
    for kind, pks in rows.items():
        if conf.get("MODEL_PERMISSIONS") and not context.user.has_perm(kind.permission(action)):
            raise NotTheirs(f"this user may not {action} rows of {kind.label}")
        seen = visible(kind, context.scopes).filter(pk__in=pks)
        can_write = kind.options.can_write
        if can_write is None:
            allowed = seen.count()
        else:
            allowed = sum(1 for row in seen if can_write(context.user, row))
        if allowed < len(pks):
            raise NotTheirs(f"rows of {kind.label} are not this user's")


def _require_seen(cascaded: RowsByModel, deleted_at: Moment, context: Context) -> None:
    for kind, pks in cascaded.items():
        known = _known(kind, pks, deleted_at.seen, context)
        own = [kind.key_value(pk) for pk, knowledge in known.items() if knowledge == Knowledge.OWN]
        later = any(
            max(stored.row.clocks.values(), default=0) > deleted_at.at
            for stored in read_rows(kind, kind.rows.filter(pk__in=own))
        )
        if later or len(known) < len(pks):
            raise UnseenRows(f"rows of {kind.model._meta.verbose_name_plural} changed meanwhile")


def _known(
    kind: WireModel, pks: Collection[Any], seen: Cursor | None, context: Context
) -> dict[str, Knowledge]:
    """Which of the rows, by wire key, who brings the changes knows as they are, and how."""
    if seen is None:
        return {}
    keys = {kind.key_text(pk) for pk in pks}
    told = known_at(seen, context.signer, kind.label, keys, context.scopes, EntryKind.ROW)
    return {pk: knowledge for pk, knowledge in told.items() if knowledge}


def _united(cascaded: RowsByModel, changed: RowsByModel) -> RowsByModel:
    return {
        kind: cascaded.get(kind, set()) | changed.get(kind, set())
        for kind in dict.fromkeys([*cascaded, *changed])
    }


def _share(
    model: WireModel, row: models.Model, own: Collection[tuple[Any, Any]]
) -> list[tuple[WireModel, str]]:
    """What hangs on one of the rows alone."""
    others = _united(*_affected(_collected(model, [row]), own))
    return [(kind, kind.key_text(pk)) for kind, pks in others.items() for pk in pks]


def _rows(others: RowsByModel) -> dict[tuple[WireModel, str], Row]:
    return {
        (kind, stored.pk): stored.row
        for kind, pks in others.items()
        for stored in read_rows(kind, kind.rows.filter(pk__in=pks).order_by("pk"))
    }
