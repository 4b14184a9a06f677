"""Settings with every app of the tests, for the type checker alone."""

from tests import settings as ordinary
from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*ordinary.INSTALLED_APPS, "tests.simulation.house"]
