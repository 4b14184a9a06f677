"""The app `ground` in release 1."""

from django.apps import AppConfig


class GroundConfig(AppConfig):
    name = "demo_project.ground.release_1"
    label = "ground"
    default_auto_field = "django.db.models.BigAutoField"
