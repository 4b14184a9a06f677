"""Who is in the demo.

| user  | password     | may                                   |
|-------|--------------|---------------------------------------|
| ada   | ramp-check   | inspect at JFK                        |
| ben   | ramp-check   | inspect at JFK, with a second device  |
| cleo  | ramp-check   | inspect at LGA                        |
| dan   | ramp-check   | inspect at EWR                        |
| admin | ramp-check   | everything, in the admin              |

The password is public, so it is for the demo on one's own machine alone.
"""

from dataclasses import dataclass

PASSWORD = "ramp-check"
INSPECTORS = "Inspectors"

# What an inspector may do to each model, as Django's permissions name it. Seeing is for the admin: what a device
# holds is decided by its scopes.
PERMISSIONS = {
    "ramp.airport": ["view"],
    "ramp.airline": ["view"],
    "ramp.plane": ["view"],
    "ramp.flight": ["view", "change"],
    "ramp.inspection": ["view", "add", "change", "delete"],
    "ramp.defect": ["view", "add", "change", "delete"],
    "ground.vehicle": ["view", "add", "change", "delete"],
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the demo; whoever has no airport is the administrator."""

    username: str
    first_name: str
    airport: str | None


PEOPLE = (
    Person(username="ada", first_name="Ada", airport="JFK"),
    Person(username="ben", first_name="Ben", airport="JFK"),
    Person(username="cleo", first_name="Cleo", airport="LGA"),
    Person(username="dan", first_name="Dan", airport="EWR"),
    Person(username="admin", first_name="Admin", airport=None),
)
