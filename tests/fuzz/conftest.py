"""Fuzzing runs on settings of its own (``make fuzz``); the other tests leave this folder out.

``SYNCRESET_CASES`` says how many cases each test has, ``SYNCRESET_SEED`` from which seed on.
"""

import os

import pytest
from django.conf import settings as django_settings

if not django_settings.SETTINGS_MODULE.startswith("tests.fuzz"):
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    if not django_settings.SETTINGS_MODULE.startswith("tests.fuzz"):
        return ""
    return f"fuzz: seed {os.environ.get('SYNCRESET_SEED', '1')}"


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
