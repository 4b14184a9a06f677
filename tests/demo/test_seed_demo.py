"""`manage.py seed_demo` loads the week once, and leaves what people changed."""

from itertools import islice
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from demo_project.ramp import people
from demo_project.ramp.data import dataset
from demo_project.ramp.models import Airport, Flight, Plane, flight_key
from demo_project.ramp.scopes import scopes_for


def scopes_of(username: str) -> list[str]:
    [airports] = scopes_for(User.objects.get(username=username))
    return [airport.faa for airport in airports]


@pytest.fixture
def short_week(monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of 50 flights, for what does not depend on their number."""
    flights = dataset.Dataset.flights
    monkeypatch.setattr(dataset.Dataset, "flights", lambda source: islice(flights(source), 50))


@pytest.fixture
def seeded(db: None, short_week: None) -> None:
    call_command("seed_demo", verbosity=0)


@pytest.mark.django_db
def test_the_week_is_there_and_each_inspector_holds_one_airport() -> None:
    call_command("seed_demo", verbosity=0)

    assert Flight.objects.count() == 6099
    assert [scopes_of(name) for name in ("ada", "ben", "cleo", "dan")] == [["JFK"], ["JFK"], ["LGA"], ["EWR"]]
    assert scopes_of("admin") == []
    first = Flight.objects.get(
        pk=flight_key(day="2013-01-01", carrier="UA", number=1545, origin="EWR", dest="IAH")
    )
    assert (first.dest.name, first.plane_id) == ("George Bush Intercontinental", "N14228")
    assert first.dep is not None
    assert first.dep.isoformat() == "2013-01-01T10:17:00+00:00"


@pytest.mark.usefixtures("seeded")
def test_planes_and_airports_that_the_data_set_leaves_out_are_there_by_name() -> None:
    assert Airport.objects.get(pk="SJU").time_zone == "America/Puerto_Rico"
    unregistered = Plane.objects.filter(manufacturer=None)
    assert unregistered.exists()
    assert not Flight.objects.filter(plane=None).exists()


@pytest.mark.usefixtures("seeded")
def test_seeding_again_changes_nothing() -> None:
    flight = Flight.objects.filter(origin_id="JFK")[0]
    flight.gate = "B22"
    flight.save()
    ada = User.objects.get(username="ada")
    ada.set_password("changed")
    ada.save()
    stamped = Flight.objects.order_by("last_updated", "pk").values_list("pk", "last_updated")
    before = list(stamped)

    call_command("seed_demo", verbosity=0)

    assert list(stamped.all()) == before
    assert Flight.objects.get(pk=flight.pk).gate == "B22"
    assert User.objects.get(username="ada").check_password("changed")


@pytest.mark.usefixtures("seeded")
def test_inspectors_may_write_inspections_and_not_the_timetable() -> None:
    ada = User.objects.get(username="ada")

    assert ada.check_password(people.PASSWORD)
    assert ada.has_perms(["ramp.add_inspection", "ramp.delete_defect", "ramp.change_flight"])
    assert ada.has_perms(["ground.add_vehicle", "ground.change_vehicle"])
    assert not ada.has_perm("ramp.add_flight")
    assert not ada.has_perm("ramp.change_plane")
    assert not ada.is_staff


@pytest.mark.usefixtures("seeded")
def test_the_administrator_sees_every_list(client: Client) -> None:
    client.force_login(User.objects.get(username="admin"))

    for model in ("airport", "airline", "plane", "flight", "inspection", "defect", "assignment"):
        assert client.get(f"/admin/ramp/{model}/").status_code == 200
    assert client.get("/admin/ground/vehicle/").status_code == 200


@pytest.mark.django_db
def test_full_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise dataset.DatasetMissing("install it")

    monkeypatch.setattr(dataset, "package", missing)

    with pytest.raises(CommandError, match="install it"):
        call_command("seed_demo", full=True, verbosity=0)
