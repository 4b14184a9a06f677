"""The demo's addresses: a landing page, the admin, a token endpoint and the sync API."""

from django.contrib import admin
from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token

from demo_project.ramp.views import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
    path("api/token/", obtain_auth_token, name="token"),
    path("sync/v1/", include("syncreset.api.urls")),
]

admin.site.site_header = "syncreset demo: ramp checks"
admin.site.site_title = "Ramp checks"
admin.site.index_title = "New York, the first week of 2013"
