"""The dog of Realm's guide, in shelters: scopes, relations of each kind, conflict policies."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Shelter(SyncTrackedModel):
    """A scope that is tracked itself: whoever holds a shelter also holds its row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    city = models.CharField(max_length=100, blank=True, default="")

    class SyncMeta:
        scope = "id"

    def __str__(self) -> str:
        return self.name


class Vet(SyncTrackedModel):
    """Held by everyone who may sync, and keyed by a code that people give."""

    code = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=100)
    phone = models.CharField(max_length=40, null=True, blank=True)

    class SyncMeta:
        scope = None

    def __str__(self) -> str:
        return self.name


class Dog(SyncTrackedModel):
    """The row most tests change; `mother` is a reference within the model, `chip` may clash with an invisible dog's."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE, related_name="dogs")
    name = models.CharField(max_length=200)
    age = models.IntegerField(null=True, blank=True)
    notes = models.TextField(blank=True, default="")
    weight = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    born = models.DateField(null=True, blank=True)
    mother = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="puppies"
    )
    chip = models.CharField(max_length=20, unique=True, null=True, blank=True)
    intake_no = models.CharField(max_length=20, blank=True, default="")

    class SyncMeta:
        scope = "shelter"
        read_only = ["intake_no"]
        conflicts = {"notes": "review"}

    def __str__(self) -> str:
        return self.name


class Visit(SyncTrackedModel):
    """A vet's visit to a dog: a child by cascade, and a reference that protects its target."""

    class Kind(models.TextChoices):
        CHECK = "check", _("check-up")
        VACCINATION = "vaccination", _("vaccination")
        SURGERY = "surgery", _("surgery")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE, related_name="visits")
    dog = models.ForeignKey(Dog, on_delete=models.CASCADE, related_name="visits")
    vet = models.ForeignKey(Vet, on_delete=models.PROTECT, null=True, blank=True, related_name="visits")
    at = models.DateTimeField()
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.CHECK)
    remarks = models.TextField(blank=True, default="")

    class SyncMeta:
        scope = "shelter"

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.at:%Y-%m-%d}"


class Ticket(SyncTrackedModel):
    """Numbered by the server, so that no client can make one offline: the check for this speaks of it."""

    id = models.BigAutoField(primary_key=True)
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE, related_name="tickets")
    subject = models.CharField(max_length=200)

    class SyncMeta:
        scope = "shelter"

    def __str__(self) -> str:
        return self.subject


class Reply(SyncTrackedModel):
    """Made by devices, of a row that the server numbers."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE, related_name="replies")
    ticket = models.ForeignKey(Ticket, on_delete=models.CASCADE, related_name="replies")
    text = models.CharField(max_length=200, blank=True, default="")

    class SyncMeta:
        scope = "shelter"


class Membership(models.Model):
    """Who works in which shelter. Not tracked: it says what a user may hold, and is the server's alone."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE, related_name="memberships")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "shelter"], name="one_membership")]
