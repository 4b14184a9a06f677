"""The vehicles in Django's admin."""

from django.contrib import admin

from demo_project.ground.release_1.models import Vehicle
from syncreset.admin import SyncTrackedAdmin


@admin.register(Vehicle)
class VehicleAdmin(SyncTrackedAdmin):
    list_display = ["name", "airport_id", "place", "fuel", "key_note", "sync_updated"]
    list_filter = ["airport", "fuel"]
    search_fields = ["name"]
    autocomplete_fields = ["airport"]
