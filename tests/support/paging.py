"""A pull page by page, for tests of what is on each page."""

from collections.abc import Iterator
from typing import Any

from tests.shelters.models import Dog, Shelter
from tests.support.device import PREFIX, Device
from tests.support.dogs import DOG


def pages(phone: Device, **more: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Pull to the end, page by page; each with its bytes. What the device holds is the pages put together."""
    while True:
        body = {
            "client": phone.client,
            "schema": phone.schema,
            "checkpoint": phone.checkpoint,
            "receipt": phone.receipt,
            **more,
        }
        response = phone.api.post(f"{PREFIX}/pull", body)
        assert response.status_code == 200, response.content
        page = response.json()
        phone.checkpoint = page["checkpoint"]
        for change in page["changes"]:
            key = (change["model"], change["pk"])
            if "fields" in change:
                phone.rows[key] = change
            else:
                phone.rows.pop(key, None)
        yield page, len(response.content)
        if not page["more"]:
            return


def names(phone: Device) -> dict[str, str]:
    return {pk: row["fields"]["name"] for (model, pk), row in phone.rows.items() if model == DOG}


def names_of(shelter: Shelter) -> dict[str, str]:
    return {str(pk): name for pk, name in Dog.objects.filter(shelter=shelter).values_list("pk", "name")}
