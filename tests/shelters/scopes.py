"""Which shelters a user of the tests may hold."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from tests.shelters.models import Shelter


def scopes_for(user: User) -> Iterable[QuerySet[Any]]:
    """The shelters where the user is a member, as one queryset."""
    return [Shelter.objects.filter(memberships__user=user)]
