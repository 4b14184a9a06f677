"""Pokes: a hint to pull, for changes in one's own scopes alone."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from syncreset.api.events import POKE, STILL_HERE, pokes
from tests.shelters.models import Dog, Shelter
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_change_in_ones_scopes_pokes_once(shelter: Shelter, other_shelter: Shelter) -> None:
    changes: Iterator[Callable[[], object]] = iter(
        [
            lambda: Dog.objects.create(shelter=shelter, name="Rex"),
            lambda: None,
            lambda: Dog.objects.create(shelter=other_shelter, name="Hidden"),
            lambda: Dog.objects.update(age=1),
        ]
    )

    def wait(seconds: float) -> None:
        next(changes)()

    stream = pokes(frozenset({f"shelters.shelter:{shelter.pk}"}), seconds=4, sleep=wait)

    told = list(stream)

    assert told == [b"retry: 1000\n\n", POKE, STILL_HERE, STILL_HERE, POKE]


def test_the_stream_is_for_users_and_says_what_it_is(
    shelter: Shelter, user_factory: UserFactory, api_for: Callable[[User], APIClient], settings: object
) -> None:
    settings.SYNCRESET = {**settings.SYNCRESET, "EVENTS_SECONDS": 1}  # type: ignore[attr-defined]

    assert APIClient().get("/sync/v1/events").status_code == 401
    response = api_for(user_factory(shelter)).get("/sync/v1/events", headers={"Accept": "text/event-stream"})

    assert response["Content-Type"] == "text/event-stream"
    assert next(iter(response)) == b"retry: 1000\n\n"
    response.close()
