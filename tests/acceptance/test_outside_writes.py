"""Somebody writes to a tracked table from a shell; the clients must hear of it."""

from collections.abc import Callable

import pytest

from tests.shelters.models import Dog, Shelter
from tests.support.factories import DeviceFactory

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]


def test_an_update_from_a_shell_reaches_a_client_with_the_right_fields_clock(
    device: DeviceFactory, shelter: Shelter, outside_sql: Callable[[str], str]
) -> None:
    Dog.objects.create(shelter=shelter, name="Rex", age=3)
    phone = device(shelter)
    phone.pull()
    (before,) = (row for (model, _), row in phone.rows.items() if model == "shelters.dog")

    outside_sql("UPDATE shelters_dog SET age = age + 1 WHERE name = 'Rex';")
    phone.pull()

    (after,) = phone.told
    assert after["fields"]["age"] == 4
    assert after["clocks"] == {**before["clocks"], "age": after["updated"]}
    assert after["updated"] > before["updated"]
