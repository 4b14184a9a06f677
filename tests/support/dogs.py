"""The dog of the shelters, as the wire has it."""

from tests.shelters.models import Shelter

DOG = "shelters.dog"


def dog_fields(shelter: Shelter, **more: object) -> dict[str, object]:
    return {
        "shelter": str(shelter.pk),
        "name": "Rex",
        "age": 3,
        "notes": "",
        "weight": "12.50",
        "born": "2020-02-29",
        "mother": None,
        "chip": None,
        **more,
    }
