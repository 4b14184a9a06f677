"""What drives on the apron, as the first release kept it."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from demo_project.ramp.models import Airport
from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Vehicle(SyncTrackedModel):
    """A tug, a belt loader, a ground power unit."""

    class Fuel(models.TextChoices):
        EMPTY = "empty", _("empty")
        QUARTER = "quarter", _("a quarter")
        HALF = "half", _("half")
        FULL = "full", _("full")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    airport = models.ForeignKey(Airport, on_delete=models.PROTECT, related_name="vehicles")
    name = models.CharField(max_length=40)
    place = models.CharField(max_length=20, blank=True, default="")
    fuel = models.CharField(max_length=10, choices=Fuel, default=Fuel.FULL)
    key_note = models.CharField("where the key is", max_length=100, null=True, blank=True)

    class Meta:
        ordering = ["name"]

    class SyncMeta:
        scope = "airport"

    def __str__(self) -> str:
        return self.name
