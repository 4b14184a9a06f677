"""All checks, registered when the app is ready."""

from django.core.checks import Tags, register

from .models import check_models, check_upcasters
from .settings import (
    check_events_setting,
    check_limits,
    check_scopes_setting,
    check_storage_setting,
    check_strategy_setting,
    check_time_zones,
)
from .tables import check_databases, check_triggers


def register_all() -> None:
    """Register every check. Called when the app is ready."""
    register(check_models, Tags.models)
    register(check_scopes_setting)
    register(check_strategy_setting)
    register(check_storage_setting)
    register(check_limits)
    register(check_time_zones)
    register(check_events_setting)
    register(check_upcasters)
    register(check_databases)
    register(check_triggers, Tags.database)
