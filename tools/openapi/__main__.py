"""Writes the document to where the repository keeps it."""

import json
from pathlib import Path

import django
from django.conf import settings

from .document import document

#: Where the document is kept in the project's repository.
TARGET = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "openapi.json"


def main() -> None:
    """Set up the apps that the views need, for the document says nothing of any project, and write it."""
    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework",
            "syncreset",
        ],
        SECRET_KEY="none",  # noqa: S106
        USE_TZ=True,
    )
    django.setup()
    TARGET.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
