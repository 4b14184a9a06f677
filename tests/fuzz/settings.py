"""The tests' settings, with a body so small that one beyond the limit is quickly made."""

from tests import settings as ordinary
from tests.settings import *  # noqa: F403

SYNCRESET = ordinary.SYNCRESET | {"BODY_LIMIT": 256 * 1024, "CHANGES_LIMIT": 50, "RECOVERY_CHUNK": 3}
