"""Importing this first sets Django up with the demo's settings, for programs that are not `manage.py`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
django.setup()
