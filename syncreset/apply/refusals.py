"""What the database or Django refused, as a problem with a stable code and without any value of a row."""

import re

from django.db import DataError, IntegrityError, OperationalError, models
from django.db.models import ProtectedError, RestrictedError

from ..protocol.errors import Problem
from .cascades import NotTheirs, UnseenRows

_BY_SQLSTATE = {
    "23505": "unique",
    "23514": "check",
    "23502": "null",
    "23503": "invalid_reference",
    "23P01": "exclusion",
}
_BY_MESSAGE = {
    "UNIQUE constraint": "unique",
    "CHECK constraint": "check",
    "NOT NULL constraint": "null",
    "FOREIGN KEY constraint": "invalid_reference",
}
_DETAILS = {
    "unique": "another row already has this value",
    "check": "a constraint of the table does not allow these values",
    "null": "a field that cannot be null has no value",
    "invalid_reference": "the row that this field refers to is not there",
    "exclusion": "a constraint of the table excludes these values beside another row's",
    "protected": "other rows refer to this one and protect it from deletion",
    "unseen_rows": "the deletion would cascade to rows that changed after this client last saw them",
    "invalid": "the database cannot store these values",
    "too_large": "the database cannot store values of this size",
}


_REFUSALS = (IntegrityError, DataError, ProtectedError, RestrictedError, UnseenRows, NotTheirs)
#: PostgreSQL's class of errors for what is beyond its limits, such as a row of an index; SQLite says it in words.
_BEYOND_LIMITS = "54"
_TOO_LARGE = ("too many SQL variables", "string or blob too big", "too many terms")


def is_refusal(error: Exception) -> bool:
    """Whether an error is about what was to be written, so that trying again is of no use. Others pass by."""
    if isinstance(error, OperationalError):
        sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
        return sqlstate.startswith(_BEYOND_LIMITS) or str(error).startswith(_TOO_LARGE)
    return isinstance(error, _REFUSALS)


def problem_of(error: Exception | None, model: type[models.Model]) -> Problem:
    """The problem that a refusal is. Names the field where the database tells which."""
    columns: list[str] = []
    if isinstance(error, UnseenRows):
        code = "unseen_rows"
    elif isinstance(error, ProtectedError | RestrictedError | NotTheirs):
        code = "protected"
    elif isinstance(error, OperationalError):
        code = "too_large"
    elif isinstance(error, IntegrityError):
        code, columns = _integrity(error)
    else:
        code = "invalid"
    names = [field.name for field in model._meta.concrete_fields if field.column in columns]
    return Problem(code=code, detail=_DETAILS[code], field=names[0] if len(names) == 1 else None)


def _integrity(error: IntegrityError) -> tuple[str, list[str]]:
    diagnostics = getattr(error.__cause__, "diag", None)
    if diagnostics is not None:
        code = _BY_SQLSTATE.get(diagnostics.sqlstate or "", "invalid")
        named = re.match(r"Key \(([^)]*)\)", diagnostics.message_detail or "")
        columns = [diagnostics.column_name] if diagnostics.column_name else []
        return code, columns or ([name.strip(' "') for name in named[1].split(",")] if named else [])
    message = str(error)
    code = next((code for prefix, code in _BY_MESSAGE.items() if message.startswith(prefix)), "invalid")
    _, _, named_columns = message.partition(": ")
    return code, [name.rpartition(".")[2].strip() for name in named_columns.split(",")]
