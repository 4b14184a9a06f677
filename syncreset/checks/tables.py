"""Checks of databases and triggers."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.db import connections, router
from django.db.models import Model

from ..tracking.registry import tracked_models
from ..tracking.triggers import install as triggers
from .models import check_model


def check_databases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether writes can be tracked on the databases where tracked models live."""
    return [
        Error(
            f"Writes cannot be tracked on {connection.display_name}, the database {alias!r}.",
            hint="Keep tracked models on PostgreSQL or SQLite, by a database router if need be.",
            id="syncreset.E012",
        )
        for alias, connection in ((alias, connections[alias]) for alias in connections)
        if connection.vendor not in triggers.SUPPORTED_VENDORS
        and any(router.allow_migrate_model(alias, model) for model in tracked_models())
    ]


def check_triggers(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Whether each tracked table has the triggers that its model asks for.

    A warning, never an error: ``migrate`` runs the checks, and is what installs the triggers.
    """
    return [
        CheckWarning(
            f"The triggers of {table.name} are missing or out of date in the database {alias!r}:"
            " writes to it are not tracked as they should be.",
            hint="Run `manage.py migrate`, which installs them and makes up for what was written meanwhile.",
            id="syncreset.W005",
        )
        for alias in databases or ()
        if connections[alias].vendor in triggers.SUPPORTED_VENDORS
        for table in triggers.missing_or_stale(connections[alias], _scoped_well(tracked_models()))
    ]


def _scoped_well(models: Sequence[type[Model]]) -> list[type[Model]]:
    """The models whose options can be used; the others have errors of their own."""
    return [model for model in models if not any(message.is_serious() for message in check_model(model))]
