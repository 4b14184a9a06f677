"""Devices and shelters for tests that speak the protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.server.device import Device
from tests.shelters.models import Shelter

DeviceFactory = Callable[..., Device]


@pytest.fixture
def shelter(db: None) -> Shelter:
    return Shelter.objects.create(name="North", city="Oslo")


@pytest.fixture
def other_shelter(db: None) -> Shelter:
    return Shelter.objects.create(name="South", city="Rome")


@pytest.fixture
def device(api_for: Callable[[User], APIClient], user_factory: Any) -> DeviceFactory:
    """Makes registered devices, of a new user of the given shelters or of one given."""

    def make(*shelters: Shelter, user: User | None = None, registered: bool = True) -> Device:
        made = Device(api_for(user or user_factory(*shelters)))
        return made.register() if registered else made

    return make
