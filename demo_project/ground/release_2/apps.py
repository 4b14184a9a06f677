"""The app `ground` in release 2."""

from django.apps import AppConfig


class GroundConfig(AppConfig):
    name = "demo_project.ground.release_2"
    label = "ground"
    default_auto_field = "django.db.models.BigAutoField"
