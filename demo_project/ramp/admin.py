"""The demo's models in Django's admin."""

from django.contrib import admin

from demo_project.ramp.models import Airline, Airport, Assignment, Defect, Flight, Inspection, Plane
from syncreset.admin import SyncTrackedAdmin


@admin.register(Airport)
class AirportAdmin(SyncTrackedAdmin):
    list_display = ["faa", "name", "time_zone"]
    search_fields = ["faa", "name"]


@admin.register(Airline)
class AirlineAdmin(SyncTrackedAdmin):
    list_display = ["carrier", "name"]


@admin.register(Plane)
class PlaneAdmin(SyncTrackedAdmin):
    list_display = ["tailnum", "manufacturer", "model", "year", "seats"]
    search_fields = ["tailnum", "manufacturer", "model"]


@admin.register(Flight)
class FlightAdmin(SyncTrackedAdmin):
    list_display = [
        "carrier_id",
        "number",
        "origin_id",
        "dest_id",
        "sched_dep",
        "dep",
        "gate",
        "sync_updated",
    ]
    list_display_links = ["carrier_id", "number"]
    list_filter = ["origin", "carrier"]
    search_fields = ["number", "dest__name", "plane__tailnum"]
    date_hierarchy = "sched_dep"
    autocomplete_fields = ["dest", "plane"]


class DefectInline(admin.TabularInline):
    model = Defect
    extra = 0


@admin.register(Inspection)
class InspectionAdmin(SyncTrackedAdmin):
    list_display = ["flight", "airport_id", "inspector", "started", "result", "fuel_kg", "sync_updated"]
    list_filter = ["airport", "result", "inspector"]
    list_select_related = ["flight"]
    raw_id_fields = ["flight"]
    autocomplete_fields = ["airport"]
    inlines = [DefectInline]


@admin.register(Defect)
class DefectAdmin(SyncTrackedAdmin):
    list_display = ["code", "severity", "airport_id", "description", "deferred", "sync_updated"]
    list_filter = ["airport", "severity", "deferred"]
    raw_id_fields = ["inspection"]
    autocomplete_fields = ["airport"]


@admin.register(Assignment)
class AssignmentAdmin(admin.ModelAdmin):
    list_display = ["user", "airport"]
    list_select_related = ["user", "airport"]
    autocomplete_fields = ["airport"]
