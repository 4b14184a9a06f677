"""The tests' addresses with an admin that knows the shelters' models, too."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.urls import include, path

from syncreset.admin import SyncTrackedAdmin
from tests.market.models import Trader
from tests.shelters.models import Dog, Shelter, Vet
from tests.zoo.models import CharKeyed


class DogAdmin(SyncTrackedAdmin):
    """As an application writes one, with fieldsets and an action of its own."""

    list_display = ["name", "age", "sync_updated"]
    fieldsets = [(None, {"fields": ["shelter", "name", "age"]})]
    actions = ["grow"]

    @admin.action(description="Make the selected dogs a year older")
    def grow(self, request: Any, queryset: Any) -> None:
        for dog in queryset:
            dog.age = (dog.age or 0) + 1
            dog.save()


class VetAdmin(SyncTrackedAdmin):
    list_display = ["name", "sync_history"]


class TraderAdmin(SyncTrackedAdmin):
    """Of a registered model, whose rows' clocks are elsewhere."""

    list_display = ["name", "sync_updated", "sync_history"]


class CharKeyedAdmin(SyncTrackedAdmin):
    """Its keys are whatever a client makes up."""

    list_display = ["code", "sync_updated", "sync_history"]


site = AdminSite()
for model, model_admin in admin.site._registry.items():
    site.register(model, type(model_admin))
site.register(Dog, DogAdmin)
site.register(Shelter, SyncTrackedAdmin)
site.register(Vet, VetAdmin)
site.register(Trader, TraderAdmin)
site.register(CharKeyed, CharKeyedAdmin)

urlpatterns = [
    path("admin/", site.urls),
    path("sync/v1/", include("syncreset.api.urls")),
]
