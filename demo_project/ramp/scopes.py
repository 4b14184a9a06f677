"""Which airports a user may hold: the ones they are assigned to."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from demo_project.ramp.models import Airport


def scopes_for(user: User) -> Iterable[QuerySet[Any]]:
    """The user's airports, as one queryset."""
    return [Airport.objects.filter(assignments__user=user)]
