"""The two releases of the app `ground`: the walk-through deploys the second over the first's database."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from demo_project import services
from demo_project.ground.release_2.models import Vehicle
from demo_project.ground.release_2.upcasters import PERCENT, fuel
from demo_project.ramp.models import Airport
from syncreset.tracking.registry import options_for
from syncreset.tracking.triggers import install as triggers

GROUND = services.PROJECT_DIR / "demo_project" / "ground"
FIRST = "0001_initial"
SECOND = "0002_gauges_and_keypads"


def migration(name: str) -> Any:
    return importlib.import_module(f"demo_project.ground.release_2.migrations.{name}")


def words() -> list[str]:
    """The fuel that a vehicle of the first release may have."""
    (created,) = migration(FIRST).Migration.operations
    return [word for word, _ in dict(created.fields)["fuel"].choices]


def test_both_begin_with_the_same_migration() -> None:
    first, second = (
        GROUND / release / "migrations" / f"{FIRST}.py" for release in ("release_1", "release_2")
    )

    assert first.read_text() == second.read_text()


@pytest.mark.parametrize("release", ["1", "2"])
def test_each_has_migrations_for_all_of_its_models(release: str, tmp_path: Path) -> None:
    environment = {
        "DEMO_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "demo_project.settings",
        "RAMP_RELEASE": release,
    }
    done = subprocess.run(
        [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"],
        cwd=services.PROJECT_DIR,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_function_for_the_fuel_knows_every_word_and_agrees_with_the_migration() -> None:
    assert [fuel(word, {}) for word in words()] == [0, 25, 50, 100]
    assert {word: str(percent) for word, percent in PERCENT.items()} == migration(SECOND).PERCENT


def test_the_renamed_field_is_declared() -> None:
    assert options_for(Vehicle).renamed == {"place": "stand"}


def state_of(name: str) -> Any:
    """The app's models as a migration leaves them."""
    return MigrationExecutor(connection).loader.project_state([("ground", name)]).apps


@pytest.fixture
def first_release(transactional_db: None) -> Iterator[Any]:
    """The database as the first release left it, and its model of a vehicle."""
    call_command("migrate", "ground", "0001", verbosity=0, interactive=False)
    try:
        yield state_of(FIRST).get_model("ground", "Vehicle")
    finally:
        call_command("migrate", "ground", verbosity=0, interactive=False)


def test_the_second_migration_carries_every_vehicle_over(first_release: Any) -> None:
    Airport.objects.create(faa="JFK", name="", latitude=0, longitude=0, altitude_ft=0, time_zone="")
    for word in words():
        first_release.objects.create(airport_id="JFK", name=word, place="B20", fuel=word, key_note="with Lou")

    call_command("migrate", "ground", verbosity=0, interactive=False)

    carried = Vehicle.objects.values_list("name", "stand", "fuel")
    assert set(carried) == {(word, "B20", PERCENT[word]) for word in words()}
    assert triggers.missing_or_stale(connection, [Vehicle]) == []


def test_and_back_as_far_as_words_go(first_release: Any) -> None:
    call_command("migrate", "ground", verbosity=0, interactive=False)
    Airport.objects.create(faa="JFK", name="", latitude=0, longitude=0, altitude_ft=0, time_zone="")
    for percent in (0, 24, 60, 100):
        Vehicle.objects.create(airport_id="JFK", name=str(percent), stand="B20", fuel=percent)

    call_command("migrate", "ground", "0001", verbosity=0, interactive=False)

    carried = first_release.objects.values_list("name", "place", "fuel")
    assert set(carried) == {
        ("0", "B20", "empty"), ("24", "B20", "empty"), ("60", "B20", "half"), ("100", "B20", "full"),
    }  # fmt: skip
