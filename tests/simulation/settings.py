"""The tests' settings with the simulated house, and limits so small that everything is cut into several pieces."""

from tests import settings as ordinary
from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    *(app for app in ordinary.INSTALLED_APPS if not app.startswith(("tests.", "demo_project."))),
    "tests.simulation.house",
]

SYNCRESET = ordinary.SYNCRESET | {
    "SCOPES": "tests.simulation.house.models.rooms_of",
    "CHANGES_LIMIT": 7,
    "PAGE_LIMIT": 9,
    "RECOVERY_CHUNK": 3,
}
