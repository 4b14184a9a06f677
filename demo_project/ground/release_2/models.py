"""What drives on the apron, as the second release keeps it."""

from django.core.validators import MaxValueValidator
from django.db import models

from demo_project.ramp.models import Airport
from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Vehicle(SyncTrackedModel):
    """A tug, a belt loader, a ground power unit."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    airport = models.ForeignKey(Airport, on_delete=models.PROTECT, related_name="vehicles")
    name = models.CharField(max_length=40)
    stand = models.CharField(max_length=20, blank=True, default="")
    fuel = models.PositiveSmallIntegerField("fuel (%)", default=100, validators=[MaxValueValidator(100)])

    class Meta:
        ordering = ["name"]

    class SyncMeta:
        scope = "airport"
        renamed = {"place": "stand"}
        # The migration rewrites the whole column, and later than any edit that still waits on a device.
        conflicts = {"fuel": "client"}

    def __str__(self) -> str:
        return self.name
