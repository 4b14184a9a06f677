"""The addresses that the tests call: the sync API where the protocol page has it, the admin and the token endpoint."""

from django.contrib import admin
from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/token/", obtain_auth_token),
    path("sync/v1/", include("syncreset.api.urls")),
]
