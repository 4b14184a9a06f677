"""What tests of schema changes declare: renames in SyncMeta, and upcasters, both forgotten afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models

from syncreset.recovery.upcast import register as upcasting
from syncreset.tracking.registry import options_for
from tests.support.factories import Declare


@pytest.fixture
def declare() -> Iterator[Declare]:
    """Adds options to a model's SyncMeta."""
    with pytest.MonkeyPatch.context() as patched:

        def add(model: type[models.Model], **options: Any) -> None:
            meta: Any = model
            patched.setattr(model, "SyncMeta", type("SyncMeta", (meta.SyncMeta,), options))
            options_for.cache_clear()

        yield add
    options_for.cache_clear()


@pytest.fixture(autouse=True)
def no_upcasters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with no function registered."""
    monkeypatch.setattr(upcasting, "_registered", {})
