"""The app `market`."""

from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "tests.market"
    label = "market"
