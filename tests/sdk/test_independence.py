"""The SDK and the protocol work where neither Django nor its REST framework is installed."""

import subprocess
import sys
from pathlib import Path

import syncreset

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "rest_framework", "celery"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
import syncreset.sdk, syncreset.protocol
assert not any(name.partition(".")[0] in {"django", "rest_framework", "celery"} for name in sys.modules)
print(syncreset.sdk.Replica.__name__)
"""


def test_the_sdk_and_the_protocol_import_without_django() -> None:
    root = Path(syncreset.__file__).parent.parent
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED], cwd=root, capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "Replica"
