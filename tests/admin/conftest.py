"""Operators, and the devices and shelters of the server's tests."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from pytest_django import Settings

from tests.support.operators import Operator


@pytest.fixture(autouse=True)
def admin_of_shelters(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.admin.urls"


@pytest.fixture
def operator(db: None) -> Callable[..., Operator]:
    """Makes members of the staff with the named permissions (``app.codename``), or all of them."""

    def make(*permissions: str, superuser: bool = False) -> Operator:
        user = User.objects.create_user(
            f"operator{User.objects.count()}", is_staff=True, is_superuser=superuser
        )
        for permission in permissions:
            label, codename = permission.split(".")
            user.user_permissions.add(
                Permission.objects.get(content_type__app_label=label, codename=codename)
            )
        return Operator(user)

    return make
