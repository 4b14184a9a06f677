"""Schedules run on settings of their own (``make simulate``); the other tests leave this folder out."""

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

if not django_settings.SETTINGS_MODULE.startswith("tests.simulation"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Settings) -> Path:
    """Uploaded files go to memory-backed storage of the schedule where there is one."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return tmp_path / "media"
