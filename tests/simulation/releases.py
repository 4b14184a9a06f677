"""Two releases of the house: the second syncs one more field of a model that is registered, the first does not know it.

Going on is an additive change of the schema, going back a breaking one.
"""

import pytest
from django.db import connection, models

from syncreset.protocol import now
from syncreset.tracking import register as registrations
from syncreset.tracking.migrate import after_migrate
from syncreset.wire import schema
from tests.simulation.house.models import Note
from tests.support.registering import forget_models

FIELDS = {1: ("room", "a"), 2: ("room", "a", "more")}


class Releases:
    """``number`` is the release that runs. The patch takes the registration back after the test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.number = 1

    def deploy(self, number: int) -> None:
        """The processes of a release start, after its ``migrate``; also on a database that was restored."""
        self.number = number
        said = {"scope": "room", "fields": FIELDS[number]}
        model: type[models.Model] = Note
        self.patch.setitem(registrations._REGISTERED, model, said)
        self.patch.setattr(schema, "_LOADED", now())
        forget_models()
        after_migrate(using=connection.alias)
        schema.publish()
