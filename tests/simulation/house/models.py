"""A field of every policy, a counter, sets, a unique value, a self-reference, a cascade, and rooms as scopes."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models

from syncreset import register
from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7


class Room(SyncTrackedModel):
    """A scope."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=40)
    members: "models.ManyToManyField[User, Membership]" = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="Membership", related_name="rooms"
    )

    class SyncMeta:
        scope = "id"


class Membership(models.Model):
    """Which user holds which room. The server's alone."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    room = models.ForeignKey(Room, on_delete=models.CASCADE)


class Label(SyncTrackedModel):
    """Held by everyone, under a key that people give."""

    name = models.CharField(max_length=40, primary_key=True)
    colour = models.CharField(max_length=40, blank=True, default="")


class Thing(SyncTrackedModel):
    """`a` takes the newest value, `c` the client's, `s` the server's; of `n` a person decides."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    room = models.ForeignKey(Room, on_delete=models.CASCADE)
    a = models.CharField(max_length=40, blank=True, default="")
    c = models.CharField(max_length=40, blank=True, default="")
    s = models.CharField(max_length=40, blank=True, default="")
    n = models.CharField(max_length=40, blank=True, default="")
    qty = models.IntegerField(default=0)
    code = models.CharField(max_length=10, unique=True, null=True, blank=True)
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True)
    tags = models.ManyToManyField(Label, blank=True)
    near = models.ManyToManyField("self", blank=True)

    class SyncMeta:
        scope = "room"
        counters = ["qty"]
        conflicts = {"c": "client", "s": "server", "n": "review"}


class Part(SyncTrackedModel):
    """Goes with its thing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    room = models.ForeignKey(Room, on_delete=models.CASCADE)
    thing = models.ForeignKey(Thing, on_delete=models.CASCADE)
    a = models.CharField(max_length=40, blank=True, default="")

    class SyncMeta:
        scope = "room"


class Note(models.Model):
    """Registered as it is. ``more`` is synced by the second release alone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    room = models.ForeignKey(Room, on_delete=models.CASCADE)
    a = models.CharField(max_length=40, blank=True, default="")
    more = models.CharField(max_length=40, blank=True, default="")


register(Note, scope="room", fields=("room", "a"))


def rooms_of(user: User) -> Iterable[Any]:
    """The scopes of a user."""
    return [Room.objects.filter(members=user)]
