"""Airports, airlines, planes and flights that inspectors read, inspections and defects that they make offline."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7

# Keeps a flight's key the same in every database that is seeded from the same data.
FLIGHT_NAMESPACE = uuid.UUID("7b0c9d5e-2f7e-5c36-9d3a-1c6f0a4b2013")


def nobody(user: Any, row: Any) -> bool:
    """Reference data is written by the operator alone."""
    return False


def empty_checklist() -> dict[str, bool]:
    return {"chocks": False, "cones": False, "fire extinguisher": False, "fod walk": False}


class Airport(SyncTrackedModel):
    """An airport by its FAA code. Everyone holds all; New York's three are the scopes of what inspectors write."""

    faa = models.CharField("FAA code", max_length=4, primary_key=True)
    name = models.CharField(max_length=100)
    latitude = models.FloatField()
    longitude = models.FloatField()
    altitude_ft = models.IntegerField("altitude (ft)")
    time_zone = models.CharField(max_length=40)

    class Meta:
        ordering = ["faa"]

    class SyncMeta:
        scope = None
        can_write = nobody

    def __str__(self) -> str:
        return f"{self.faa} {self.name}"


class Airline(SyncTrackedModel):
    """An airline by its two-letter carrier code."""

    carrier = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=100)

    class Meta:
        ordering = ["name"]

    class SyncMeta:
        scope = None
        can_write = nobody

    def __str__(self) -> str:
        return self.name


class Plane(SyncTrackedModel):
    """An aircraft by its tail number; what the FAA registry did not know of it is null."""

    tailnum = models.CharField("tail number", max_length=6, primary_key=True)
    year = models.PositiveSmallIntegerField("year built", null=True, blank=True)
    kind = models.CharField(max_length=40, null=True, blank=True)
    manufacturer = models.CharField(max_length=60, null=True, blank=True)
    model = models.CharField(max_length=40, null=True, blank=True)
    engines = models.PositiveSmallIntegerField(null=True, blank=True)
    seats = models.PositiveSmallIntegerField(null=True, blank=True)
    engine = models.CharField(max_length=40, null=True, blank=True)

    class Meta:
        ordering = ["tailnum"]

    class SyncMeta:
        scope = None
        can_write = nobody

    def __str__(self) -> str:
        return self.tailnum


class Flight(SyncTrackedModel):
    """A departure from New York. Gate and stand notes are the inspectors' to edit, the rest is the timetable's."""

    id = models.UUIDField(primary_key=True, editable=False, default=uuid7)
    origin = models.ForeignKey(Airport, on_delete=models.PROTECT, related_name="departures")
    dest = models.ForeignKey(
        Airport, on_delete=models.PROTECT, related_name="arrivals", verbose_name="destination"
    )
    carrier = models.ForeignKey(Airline, on_delete=models.PROTECT, related_name="flights")
    number = models.PositiveIntegerField()
    plane = models.ForeignKey(Plane, on_delete=models.PROTECT, null=True, blank=True, related_name="flights")
    sched_dep = models.DateTimeField("scheduled departure")
    sched_arr = models.DateTimeField("scheduled arrival")
    dep = models.DateTimeField("departure", null=True, blank=True)
    arr = models.DateTimeField("arrival", null=True, blank=True)
    distance_mi = models.PositiveIntegerField("distance (mi)")
    gate = models.CharField(max_length=10, blank=True, default="")
    stand_notes = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["sched_dep", "carrier", "number"]

    class SyncMeta:
        scope = "origin"
        read_only = [
            "dest", "carrier", "number", "plane",
            "sched_dep", "sched_arr", "dep", "arr", "distance_mi",
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.carrier_id} {self.number} {self.origin_id}-{self.dest_id} {self.sched_dep:%Y-%m-%d}"


class Inspection(SyncTrackedModel):
    """A ramp check of one flight, made by an inspector on the apron, usually without a network."""

    class Result(models.TextChoices):
        OPEN = "open", _("open")
        PASSED = "passed", _("passed")
        DEFECTS = "defects", _("passed with defects")
        GROUNDED = "grounded", _("grounded")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    airport = models.ForeignKey(Airport, on_delete=models.PROTECT, related_name="inspections")
    flight = models.ForeignKey(Flight, on_delete=models.CASCADE, related_name="inspections")
    inspector = models.CharField(max_length=100)
    started = models.DateTimeField()
    result = models.CharField(max_length=10, choices=Result, default=Result.OPEN)
    remarks = models.TextField(blank=True, default="")
    fuel_kg = models.DecimalField("fuel (kg)", max_digits=9, decimal_places=1, null=True, blank=True)
    checklist = models.JSONField(default=empty_checklist, blank=True)

    class Meta:
        ordering = ["-started"]

    class SyncMeta:
        scope = "airport"

    def __str__(self) -> str:
        return f"{self.inspector} {self.started:%Y-%m-%d %H:%M}"


class Defect(SyncTrackedModel):
    """What an inspection found. Two severities for one defect are for a person to decide, not for a clock."""

    class Severity(models.TextChoices):
        MINOR = "minor", _("minor")
        MAJOR = "major", _("major")
        CRITICAL = "critical", _("critical")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    airport = models.ForeignKey(Airport, on_delete=models.PROTECT, related_name="defects")
    inspection = models.ForeignKey(Inspection, on_delete=models.CASCADE, related_name="defects")
    code = models.CharField(max_length=20)
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.MINOR)
    description = models.TextField(blank=True, default="")
    deferred = models.BooleanField(default=False)

    class Meta:
        ordering = ["code"]

    class SyncMeta:
        scope = "airport"
        conflicts = {"severity": "review"}

    def __str__(self) -> str:
        return f"{self.code} ({self.get_severity_display()})"


class Assignment(models.Model):
    """Which airport a user inspects. Not tracked: it decides what a device may hold, so it never leaves the server."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assignments")
    airport = models.ForeignKey(Airport, on_delete=models.CASCADE, related_name="assignments")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "airport"], name="ramp_one_assignment")]

    def __str__(self) -> str:
        return f"{self.user} at {self.airport_id}"


def flight_key(*, day: str, carrier: str, number: int, origin: str, dest: str) -> uuid.UUID:
    """The key of a flight by what names it in the timetable; `day` is the local date as `2013-01-31`."""
    return uuid.uuid5(FLIGHT_NAMESPACE, f"{day} {carrier}{number} {origin}-{dest}")
