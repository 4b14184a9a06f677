"""The paths of the protocol, to be included under a prefix such as ``sync/v1/``."""

from django.urls import path, re_path

from .events import EventsView
from .tus import SnapshotView, UploadView
from .views import (
    ClientsView,
    ItemsView,
    NothingHereView,
    PullView,
    PushView,
    RecoveryView,
    ResetView,
    ResolveView,
    RootView,
    SchemaView,
)

app_name = "syncreset"

urlpatterns = [
    path("", RootView.as_view(), name="root"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("schema/<slug:schema_hash>", SchemaView.as_view(), name="schema-by-hash"),
    path("clients", ClientsView.as_view(), name="clients"),
    path("pull", PullView.as_view(), name="pull"),
    path("push", PushView.as_view(), name="push"),
    path("events", EventsView.as_view(), name="events"),
    path("resets/<uuid:reset_id>", ResetView.as_view(), name="reset"),
    path("resets/<uuid:reset_id>/snapshot", SnapshotView.as_view(), name="snapshot"),
    path("uploads/<uuid:upload_id>", UploadView.as_view(), name="upload"),
    path("recoveries/<uuid:recovery_id>", RecoveryView.as_view(), name="recovery"),
    path("recoveries/<uuid:recovery_id>/items", ItemsView.as_view(), name="items"),
    path("items/<uuid:item_id>/resolve", ResolveView.as_view(), name="resolve"),
    # Whatever else is below the prefix: a client is told so in the protocol's own words.
    re_path("", NothingHereView.as_view()),
]
