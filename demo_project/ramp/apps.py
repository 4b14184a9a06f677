"""The app `ramp`."""

from django.apps import AppConfig


class RampConfig(AppConfig):
    name = "demo_project.ramp"
    label = "ramp"
    verbose_name = "Ramp checks"
