"""The base class of models whose rows are synced. Can be imported without the app being installed."""

from typing import Any, ClassVar

from django.db import models

from .fields import FieldTimestampsField, LastUpdatedField, clocks_are_stale


class SyncTrackedModel(models.Model):
    """Adds the two clock columns to a model, and nothing else.

    Once ``migrate`` has run, triggers stamp and enter every write to the table, whoever makes it. How the model is
    synced is said by an inner class ``SyncMeta`` (see `syncreset.tracking.options`).
    """

    last_updated = LastUpdatedField()
    field_timestamps = FieldTimestampsField()

    SyncMeta: ClassVar[type]

    class Meta:
        abstract = True

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        """Save, and forget the clocks: a save of some fields (``update_fields``) moves them as well."""
        super().save_base(*args, **kwargs)
        clocks_are_stale(self)
