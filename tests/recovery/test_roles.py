"""What somebody may not do, nobody can do by another road; and the page on security says what becomes of it."""

import pytest

from tests.recovery import test_one_gate
from tests.recovery.roles import FORBIDDEN, OPEN, ROADS, attempt_of
from tests.shelters.models import Dog, Shelter
from tests.support.factories import DeviceFactory, UserFactory
from tests.support.pages import page, section, table

pytestmark = pytest.mark.django_db(transaction=True)

COLUMNS = (*ROADS, *OPEN)


def roles_and_roads() -> list[list[str]]:
    return table(section(page("docs/explanation/security.md"), "### Roles and roads"))


def rows_now() -> list[object]:
    return list(Dog.objects.order_by("pk").values_list())


def test_the_page_has_every_role_thing_and_road() -> None:
    head, *rows = roles_and_roads()

    assert head == ["who", "may not", *COLUMNS]
    assert [(row[0], row[1]) for row in rows] == FORBIDDEN


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("role", "thing"), FORBIDDEN)
def test_no_road_leads_around_what_a_role_may_not_do(
    role: str,
    thing: str,
    road: str,
    shelter: Shelter,
    other_shelter: Shelter,
    device: DeviceFactory,
    user_factory: UserFactory,
) -> None:
    attempt = attempt_of(role, thing, (shelter, other_shelter), device, user_factory)
    before = rows_now()

    told = ROADS[road](attempt)

    assert rows_now() == before
    head, *rows = roles_and_roads()
    (row,) = (row for row in rows if row[:2] == [role, thing])
    assert row[head.index(road)] == told


@pytest.mark.parametrize("road", OPEN)
@pytest.mark.parametrize(("role", "thing"), FORBIDDEN)
def test_only_an_operator_lets_in_what_a_role_may_not_do(
    role: str,
    thing: str,
    road: str,
    shelter: Shelter,
    other_shelter: Shelter,
    device: DeviceFactory,
    user_factory: UserFactory,
) -> None:
    attempt = attempt_of(role, thing, (shelter, other_shelter), device, user_factory)
    before = rows_now()

    told = OPEN[road](attempt)

    assert (rows_now() != before) == told.startswith("applied")
    head, *rows = roles_and_roads()
    (row,) = (row for row in rows if row[:2] == [role, thing])
    assert row[head.index(road)] == told


def test_the_page_has_the_roads_by_which_forbidden_values_are_tried() -> None:
    head, *rows = table(section(page("docs/explanation/security.md"), "### Values and roads"))

    assert head == ["road", "a value that the field cannot hold", "a read-only field"]
    assert rows == [
        [road, "never", "an operator may" if "operator" in road else "never"] for road in test_one_gate.ROADS
    ]
