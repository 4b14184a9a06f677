"""The farm's app."""

from django.apps import AppConfig


class FarmConfig(AppConfig):
    name = "tests.tracking.farm"
    label = "farm"
    default_auto_field = "django.db.models.BigAutoField"
