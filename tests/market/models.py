"""A market whose products are counted by several people at once."""

from django.db import models

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Product(SyncTrackedModel):
    """One counter of each kind of number, and `ordered`, which may be null."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    stock = models.PositiveSmallIntegerField(default=0)
    sold = models.BigIntegerField(default=0)
    weight = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    ordered = models.IntegerField(null=True, blank=True)

    class SyncMeta:
        counters = ["stock", "sold", "weight", "ordered"]

    def __str__(self) -> str:
        return self.name
