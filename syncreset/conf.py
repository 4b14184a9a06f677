"""The settings: one dictionary ``SYNCRESET``, read live, so that ``override_settings`` works."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

_DAY = 24 * 60 * 60

DEFAULTS: Mapping[str, Any] = {
    #: ``(user) -> iterable of model instances or querysets``, or the dotted path of such a function.
    "SCOPES": None,
    #: Whether a push needs Django's add, change and delete permissions on the model.
    "MODEL_PERMISSIONS": True,
    #: The recovery strategy that goes before the one a snapshot names: one of the five, or a function's dotted path.
    "STRATEGY": None,
    #: The reset modes that clients may use.
    "MODES": ("manual", "recover", "discard", "recover_or_discard"),
    #: Changes in one push, and in one page of a pull.
    "CHANGES_LIMIT": 1000,
    "PAGE_LIMIT": 5000,
    #: Bytes of the changes in one page of a pull; a larger row has a page of its own.
    "PAGE_BYTES_LIMIT": 4 * 1024**2,
    #: Bytes of a JSON request, decompressed.
    "BODY_LIMIT": 8 * 1024**2,
    #: Bytes of a snapshot: as uploaded, decompressed, and of one of its lines. And how many lines it may have.
    "SNAPSHOT_LIMIT": 256 * 1024**2,
    "SNAPSHOT_DECOMPRESSED_LIMIT": 2 * 1024**3,
    "SNAPSHOT_LINE_LIMIT": 8 * 1024**2,
    "SNAPSHOT_LINES_LIMIT": 2_000_000,
    #: The alias in Django's STORAGES that keeps uploaded snapshots.
    "STORAGE": "default",
    #: The Redis by which processes tell each other of changes, for ``GET /events``; without, each looks for itself.
    "EVENTS_URL": None,
    #: Seconds that one stream of ``GET /events`` lasts.
    "EVENTS_SECONDS": 300,
    #: Streams of one user in one process, and streams that may hold a thread of a process, which they do under WSGI.
    "EVENTS_PER_USER": 5,
    "EVENTS_THREADS": 1,
    #: Seconds that tombstones and departures are kept before ``purge`` may remove them.
    "RETENTION": 90 * _DAY,
    #: Seconds after which an unfinished upload expires, and after which a reset's snapshot is no longer awaited.
    "UPLOAD_EXPIRY": 2 * _DAY,
    "RESET_DEADLINE": 30 * _DAY,
    #: How many clients may start over in one second when many must: the more wait, the wider they are spread.
    "RESET_RATE": 20,
    #: Seconds that an uploaded snapshot is kept after the last of its recoveries is done.
    "SNAPSHOT_RETENTION": 30 * _DAY,
    #: Seconds that refused snapshots, items of pushes that wait for nobody, and clients that never synced are kept.
    "REFUSED_RETENTION": 365 * _DAY,
    "ITEM_RETENTION": 365 * _DAY,
    "UNUSED_CLIENT_RETENTION": 30 * _DAY,
    #: What one user may have: clients, unfinished uploads, refused snapshots, bytes of all snapshots, parked items.
    "CLIENTS_QUOTA": 200,
    "UPLOADS_QUOTA": 50,
    "REFUSED_QUOTA": 50,
    "BYTES_QUOTA": 4 * 1024**3,
    "PARKED_QUOTA": 20_000,
    #: Lines of a snapshot that one transaction of the recovery merges.
    "RECOVERY_CHUNK": 500,
    #: Seconds that a recovery's lease lasts without being renewed; then the sweeper hands it to another worker.
    "RECOVERY_LEASE": 60,
}


def get(name: str) -> Any:
    """The value of a setting. Raises ImproperlyConfigured for one that does not exist."""
    if name not in DEFAULTS:
        raise ImproperlyConfigured(f"syncreset has no setting {name!r}")
    configured = getattr(settings, "SYNCRESET", {})
    return configured.get(name, DEFAULTS[name])


def scopes_function() -> Callable[[Any], Iterable[Any]] | None:
    """The function behind ``SCOPES``, or None where it is not set."""
    configured = get("SCOPES")
    if configured is None:
        return None
    if callable(configured):
        return configured  # type: ignore[no-any-return]
    function = import_string(configured)
    if not callable(function):
        raise ImproperlyConfigured(f"SYNCRESET['SCOPES'] = {configured!r} does not name a function")
    return function  # type: ignore[no-any-return]
