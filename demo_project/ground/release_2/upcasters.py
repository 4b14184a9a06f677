"""How values of the first release read in the second: imported by syncreset when Django starts."""

from collections.abc import Mapping
from typing import Any

from syncreset import upcast

PERCENT = {"empty": 0, "quarter": 25, "half": 50, "full": 100}


@upcast("ground.vehicle", "fuel")
def fuel(value: str, old: Mapping[str, Any]) -> int:
    """Was one of four words, is percent."""
    return PERCENT[value]
