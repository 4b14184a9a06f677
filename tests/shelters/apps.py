"""The app `shelters`."""

from django.apps import AppConfig


class SheltersConfig(AppConfig):
    name = "tests.shelters"
    label = "shelters"
