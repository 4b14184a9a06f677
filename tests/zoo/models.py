"""Every concrete field type in Django's documentation, and a model for each kind of primary key."""

from pathlib import Path
from tempfile import gettempdir

from django.db import models
from django.db.models import F
from django.utils import timezone

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


def specimen_path() -> str:
    """The directory that `Specimen.file_path` chooses from; a function, so that no migration holds a machine's path."""
    return str(Path(gettempdir()))


class IntegerKeyed(SyncTrackedModel):
    """Keyed by a number that the user gives."""

    number = models.IntegerField(primary_key=True)
    note = models.TextField(blank=True, default="")

    class SyncMeta:
        scope = None


class BigIntegerKeyed(SyncTrackedModel):
    """Keyed by a number beyond what JavaScript's integers hold exactly."""

    number = models.BigIntegerField(primary_key=True)
    note = models.TextField(blank=True, default="")

    class SyncMeta:
        scope = None


class CharKeyed(SyncTrackedModel):
    """Keyed by text, with whatever characters it has."""

    code = models.CharField(max_length=50, primary_key=True)
    note = models.TextField(blank=True, default="")

    class SyncMeta:
        scope = None


class UUIDKeyed(SyncTrackedModel):
    """Keyed by a UUID that the client makes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    note = models.TextField(blank=True, default="")

    class SyncMeta:
        scope = None


class OneToOneKeyed(SyncTrackedModel):
    """Keyed by another row's key."""

    owner = models.OneToOneField(
        UUIDKeyed, on_delete=models.CASCADE, primary_key=True, related_name="extension"
    )
    note = models.TextField(blank=True, default="")

    class SyncMeta:
        scope = None


class Specimen(SyncTrackedModel):
    """One field of each type, most of them nullable, named by type; the last few are the non-null ones."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    big_integer = models.BigIntegerField(null=True, blank=True)
    binary = models.BinaryField(null=True, blank=True, editable=True)
    boolean = models.BooleanField(null=True, blank=True)
    char = models.CharField(max_length=200, null=True, blank=True)
    date = models.DateField(null=True, blank=True)
    date_time = models.DateTimeField(null=True, blank=True)
    decimal = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    duration = models.DurationField(null=True, blank=True)
    email = models.EmailField(null=True, blank=True)
    file = models.FileField(upload_to="specimens", max_length=200, null=True, blank=True)
    file_path = models.FilePathField(path=specimen_path, null=True, blank=True)
    float = models.FloatField(null=True, blank=True)
    generated = models.GeneratedField(
        expression=F("count") + 1, output_field=models.BigIntegerField(), db_persist=True
    )
    generic_ip_address = models.GenericIPAddressField(null=True, blank=True)
    image = models.ImageField(upload_to="specimens", max_length=200, null=True, blank=True)
    integer = models.IntegerField(null=True, blank=True)
    json = models.JSONField(null=True, blank=True)
    positive_big_integer = models.PositiveBigIntegerField(null=True, blank=True)
    positive_integer = models.PositiveIntegerField(null=True, blank=True)
    positive_small_integer = models.PositiveSmallIntegerField(null=True, blank=True)
    slug = models.SlugField(null=True, blank=True)
    small_integer = models.SmallIntegerField(null=True, blank=True)
    text = models.TextField(null=True, blank=True)
    time = models.TimeField(null=True, blank=True)
    url = models.URLField(null=True, blank=True)
    uuid = models.UUIDField(null=True, blank=True)

    to_integer = models.ForeignKey(IntegerKeyed, on_delete=models.SET_NULL, null=True, blank=True)
    to_big_integer = models.ForeignKey(BigIntegerKeyed, on_delete=models.SET_NULL, null=True, blank=True)
    to_char = models.ForeignKey(CharKeyed, on_delete=models.SET_NULL, null=True, blank=True)
    to_uuid = models.ForeignKey(
        UUIDKeyed, on_delete=models.SET_NULL, null=True, blank=True, related_name="specimens"
    )
    one_to_one = models.OneToOneField(
        UUIDKeyed, on_delete=models.SET_NULL, null=True, blank=True, related_name="specimen"
    )

    label = models.CharField(max_length=200, db_column="label_text")
    count = models.IntegerField(default=0)
    active = models.BooleanField(default=True)
    seen = models.DateTimeField(default=timezone.now)
    checklist = models.JSONField(default=dict, blank=True)

    class SyncMeta:
        scope = None

    def __str__(self) -> str:
        return self.label
