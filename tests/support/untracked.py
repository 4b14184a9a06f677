"""Tables without their triggers, as an operator or a failed migration leaves them."""

from django.db import connection
from django.db.models import Model

from syncreset.tracking.triggers import install as triggers
from syncreset.tracking.triggers.table import set_tables


def drop_triggers(model: type[Model]) -> None:
    """Writes to the model's tables are no longer tracked."""
    names = [model._meta.db_table, *(table.name for table in set_tables(model))]
    triggers.drop_triggers_of(connection, names)
