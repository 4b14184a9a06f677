"""The farm as it is after its last migration. Imported without being installed, hence the labels."""

from django.db import models

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Barn(SyncTrackedModel):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=40)

    objects: models.Manager["Barn"] = models.Manager()

    class Meta:
        app_label = "farm"

    class SyncMeta:
        scope = "id"


class Animal(SyncTrackedModel):
    """Had `feet` for `legs`, and a column `junk`; `weight` was an integer."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    barn = models.ForeignKey(Barn, on_delete=models.CASCADE)
    name = models.CharField(max_length=40)
    legs = models.IntegerField(default=4)
    weight = models.CharField(max_length=20, default="0")
    colour = models.CharField(max_length=20, default="")

    objects: models.Manager["Animal"] = models.Manager()

    class Meta:
        app_label = "farm"

    class SyncMeta:
        scope = "barn"


class Stall(SyncTrackedModel):
    """Was named `Pen`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    barn = models.ForeignKey(Barn, on_delete=models.CASCADE)
    number = models.IntegerField()

    objects: models.Manager["Stall"] = models.Manager()

    class Meta:
        app_label = "farm"

    class SyncMeta:
        scope = "barn"
