"""Checks of the settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages
from django.db.models import Model
from django.utils.module_loading import import_string

from .. import conf
from ..rules.strategies import STRATEGIES
from ..tracking.register import registration_of
from ..tracking.registry import tracked_models

#: The settings that say how much one request or one page may carry.
LIMITS = ("CHANGES_LIMIT", "PAGE_LIMIT", "PAGE_BYTES_LIMIT", "BODY_LIMIT")

STRATEGY_HINT = f"Use one of {', '.join(STRATEGIES)}, or a function's dotted path."


def check_scopes_setting(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether ``SYNCRESET["SCOPES"]`` can be used, and is there where a model needs it."""
    try:
        function = conf.scopes_function()
    except (ImportError, ImproperlyConfigured) as error:
        hint = "Give a function `(user) -> iterable of model instances or querysets`, or its dotted path."
        return [Error(f"SYNCRESET['SCOPES'] cannot be imported: {error}", hint=hint, id="syncreset.E011")]
    scoped = [model._meta.label for model in tracked_models() if _declared_scope(model) is not None]
    if function is not None or not scoped:
        return []
    return [
        CheckWarning(
            f"SYNCRESET['SCOPES'] is not set, so nobody holds a row of {', '.join(scoped)}.",
            hint="Name a function `(user) -> iterable of model instances or querysets`: the scopes that a user holds.",
            id="syncreset.W004",
        )
    ]


def check_strategy_setting(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether ``SYNCRESET["STRATEGY"]`` can be used."""
    chosen = conf.get("STRATEGY")
    if chosen is None or is_strategy(chosen):
        return []
    return [
        Error(f"SYNCRESET['STRATEGY'] = {chosen!r} is no strategy.", hint=STRATEGY_HINT, id="syncreset.E017")
    ]


def check_storage_setting(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether another process finds the snapshots that one has stored."""
    alias = conf.get("STORAGE")
    try:
        storage = storages[alias]
    except InvalidStorageError as error:
        hint = "Name an alias of STORAGES."
        return [Error(f"SYNCRESET['STORAGE'] = {alias!r}: {error}", hint=hint, id="syncreset.E027")]
    if not isinstance(storage, FileSystemStorage) or Path(storage.base_location).is_absolute():
        return []
    return [
        CheckWarning(
            f"Snapshots are stored below whatever directory a process runs in: the place of the storage {alias!r} is "
            f"{str(storage.base_location)!r}.",
            hint="Set MEDIA_ROOT to an absolute path, or the storage's `location`: a worker that was started elsewhere "
            "finds no snapshot.",
            id="syncreset.W008",
        )
    ]


def check_limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether the limits of requests and pages are counts: with another value every push or pull would fail."""
    return [
        Error(
            f"SYNCRESET[{name!r}] = {conf.get(name)!r} is no count.",
            hint="Give an integer that is at least 1.",
            id="syncreset.E029",
        )
        for name in LIMITS
        if type(conf.get(name)) is not int or conf.get(name) < 1
    ]


def check_time_zones(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether times are instants: a device in another zone would read them otherwise."""
    if settings.USE_TZ:
        return []
    return [
        Error(
            "USE_TZ is off, so the times in the database are of no zone, and devices cannot know what they mean.",
            hint="Set USE_TZ = True.",
            id="syncreset.E028",
        )
    ]


def check_events_setting(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether ``SYNCRESET["EVENTS_URL"]`` is the address of a Redis."""
    url = conf.get("EVENTS_URL")
    if url is None or (isinstance(url, str) and url.startswith(("redis://", "rediss://", "unix://"))):
        return []
    return [
        Error(
            "SYNCRESET['EVENTS_URL'] is no address of a Redis.",
            hint="Give one such as `redis://redis.internal:6379/0`, or None: each process looks for changes itself.",
            id="syncreset.E030",
        )
    ]


def is_strategy(name: object) -> bool:
    if name in STRATEGIES:
        return True
    try:
        return isinstance(name, str) and callable(import_string(name))
    except ImportError:
        return False


def _declared_scope(model: type[Model]) -> Any:
    registered = registration_of(model)
    return (
        getattr(getattr(model, "SyncMeta", None), "scope", None)
        if registered is None
        else registered.get("scope")
    )
