"""The demo's models in Django's admin."""

from django.contrib import admin

from demo_project.ramp.models import Airline, Airport, Assignment, Defect, Flight, Inspection, Plane


@admin.register(Airport)
class AirportAdmin(admin.ModelAdmin):
    list_display = ["faa", "name", "time_zone"]
    search_fields = ["faa", "name"]


@admin.register(Airline)
class AirlineAdmin(admin.ModelAdmin):
    list_display = ["carrier", "name"]


@admin.register(Plane)
class PlaneAdmin(admin.ModelAdmin):
    list_display = ["tailnum", "manufacturer", "model", "year", "seats"]
    search_fields = ["tailnum", "manufacturer", "model"]


@admin.register(Flight)
class FlightAdmin(admin.ModelAdmin):
    list_display = ["carrier_id", "number", "origin_id", "dest_id", "sched_dep", "dep", "gate"]
    list_display_links = ["carrier_id", "number"]
    list_filter = ["origin", "carrier"]
    search_fields = ["number", "dest__name", "plane__tailnum"]
    date_hierarchy = "sched_dep"
    autocomplete_fields = ["dest", "plane"]


class DefectInline(admin.TabularInline):
    model = Defect
    extra = 0


@admin.register(Inspection)
class InspectionAdmin(admin.ModelAdmin):
    list_display = ["flight", "airport_id", "inspector", "started", "result", "fuel_kg"]
    list_filter = ["airport", "result", "inspector"]
    list_select_related = ["flight"]
    raw_id_fields = ["flight"]
    autocomplete_fields = ["airport"]
    inlines = [DefectInline]


@admin.register(Defect)
class DefectAdmin(admin.ModelAdmin):
    list_display = ["code", "severity", "airport_id", "description", "deferred"]
    list_filter = ["airport", "severity", "deferred"]
    raw_id_fields = ["inspection"]
    autocomplete_fields = ["airport"]


@admin.register(Assignment)
class AssignmentAdmin(admin.ModelAdmin):
    list_display = ["user", "airport"]
    list_select_related = ["user", "airport"]
    autocomplete_fields = ["airport"]
