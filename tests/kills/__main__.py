"""``python -m tests.kills kill|restores``: rounds from ``--seed`` on, a line each, and the story of what failed."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import django
from django.utils.module_loading import import_string

from demo_project import services

#: Where the database, the broker and the uploads of this run are; the settings read it.
_SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.settings", "SYNCRESET_TEST_DATABASE": "postgresql"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("what", choices=("kill", "restores"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="restores: the scenarios whose name holds this")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="kill: how long things are killed in a round"
    )
    chosen = parser.parse_args()
    with (
        services.signals_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="kills-", dir="/tmp", ignore_cleanup_errors=True) as name,
    ):
        os.chmod(name, 0o755)
        os.environ.update(_SETTINGS, SYNCRESET_TEST_DATABASE_HOST=f"{name}/live")
        django.setup()
        failed: int = import_string("tests.kills.play.play")(
            Path(name), chosen.what, chosen.rounds, chosen.seed, chosen.only, chosen.seconds
        )
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
