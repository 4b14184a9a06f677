"""Whether a user may write what a merge has decided."""

from collections.abc import Mapping
from typing import Any

from .. import conf
from ..protocol.changes import Row, Tombstone
from ..protocol.errors import Problem
from ..rules.instruction import Instruction
from ..rules.merge import Outcome
from ..wire.model import WireModel
from ..wire.rows import instance_of, scope_of_row
from .context import Context


def write_problem(
    model: WireModel,
    change: Instruction,
    instance: Any,
    row: Row | None,
    outcome: Outcome,
    context: Context,
) -> Problem | None:
    """Why the user may not write this outcome, or None if nothing forbids it."""
    if context.operator:
        return None if context.undoing else _move_problem(model, change, row, outcome, context)
    action = "delete" if outcome.deletes else "add" if row is None else "change"
    if row is None and model.server_numbered:
        return Problem(
            code="server_assigned_pk",
            detail="the server numbers the rows of this model, so clients cannot make them",
        )
    permission = model.permission(action)
    if conf.get("MODEL_PERMISSIONS") and not context.user.has_perm(permission):
        return Problem(code="forbidden", detail=f"this user has no permission to {action} rows of this model")
    if outcome.row is not None and scope_of_row(model, change.pk, outcome.row) not in context.scopes:
        name = model.options.scope
        return Problem(
            code="invalid_reference", detail="the row that this field refers to is not there", field=name
        )
    can_write = model.options.can_write
    if can_write is not None:
        after = None if outcome.row is None else instance_of(model, change.pk, outcome.row, instance)
        if any(row is not None and not can_write(context.user, row) for row in (instance, after)):
            return Problem(code="forbidden", detail="this user may not write this row")
    return None


def _move_problem(
    model: WireModel, change: Instruction, row: Row | None, outcome: Outcome, context: Context
) -> Problem | None:
    """Why an operator's decision may not move the row to another scope: its client could not do that itself."""
    if row is None or outcome.row is None:
        return None
    scopes = {scope_of_row(model, change.pk, row), scope_of_row(model, change.pk, outcome.row)}
    if len(scopes) == 1 or scopes <= context.scopes:
        return None
    return Problem(
        code="forbidden",
        detail="this would move the row to another scope, and the client's user does not hold both",
        field=model.options.scope,
    )


def forbidden_field(
    model: WireModel, fields: Mapping[str, Any], tombstone: Tombstone | None, context: Context
) -> str | None:
    """A field that the user may not set and that a new row would set, or None.

    Whatever made the row, be it a push or a strategy: what a new row says of such a field is what its tombstone
    holds, null, or the default.
    """
    if context.operator:
        return None
    held = None if tombstone is None or tombstone.row is None else tombstone.row.fields
    for name in model.options.read_only:
        if name in model.fields and not model.is_unset(name, fields.get(name), held):
            return name
    return None
