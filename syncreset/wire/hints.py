"""What a device may do by itself with a field: fill it in, keep it unique, follow a deletion, name it to its user."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from .fields.codec import encode, is_server_computed

_ON_DELETE: dict[Any, str] = {
    models.CASCADE: "cascade",
    models.SET_NULL: "set_null",
    models.RESTRICT: "restrict",
    models.PROTECT: "protect",
    models.SET_DEFAULT: "set_default",
    models.DO_NOTHING: "do_nothing",
}


def hints_of(field: "models.Field[Any, Any]") -> dict[str, Any]:
    """The hints of a field's entry in the schema (protocol, "GET /schema"), in the language that is active."""
    hints = _default(field)
    if field.unique:
        hints["unique"] = True
    if isinstance(field, models.ForeignKey):
        # SET() with a value of the project's own has no word: only the server can follow it.
        on_delete = _ON_DELETE.get(field.remote_field.on_delete)
        if on_delete is not None:
            hints["on_delete"] = on_delete
    hints["label"] = str(field.verbose_name)
    return hints


def without_labels(described: dict[str, Any]) -> dict[str, Any]:
    """A model's entry in the schema as its hash sees it: what is only shown to people is no part of it."""
    fields = [
        {name: said for name, said in field.items() if name != "label"} for field in described["fields"]
    ]
    return {name: said for name, said in described.items() if name != "label"} | {"fields": fields}


def _default(field: "models.Field[Any, Any]") -> dict[str, Any]:
    if is_server_computed(field):
        return {}
    if field.has_default() and not callable(field.default):
        constant = field.default
    else:
        constant = getattr(field, "db_default", models.NOT_PROVIDED)
        if constant is models.NOT_PROVIDED:
            return {"server_default": True} if field.has_default() else {}
    if hasattr(constant, "resolve_expression") or callable(constant):
        return {"server_default": True}
    if isinstance(constant, models.Model) and isinstance(field, models.ForeignKey):
        constant = getattr(constant, field.target_field.attname)
    try:
        return {"default": encode(field, field.to_python(constant))}
    except (ValidationError, TypeError, ValueError, AttributeError):
        # Only the database knows what it makes of such a default.
        return {"server_default": True}
