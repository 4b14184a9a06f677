"""The vehicles in Django's admin."""

from django.contrib import admin

from demo_project.ground.release_2.models import Vehicle
from syncreset.admin import SyncTrackedAdmin


@admin.register(Vehicle)
class VehicleAdmin(SyncTrackedAdmin):
    list_display = ["name", "airport_id", "stand", "fuel", "sync_updated"]
    list_filter = ["airport"]
    search_fields = ["name"]
    autocomplete_fields = ["airport"]
