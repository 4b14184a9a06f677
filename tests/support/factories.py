"""What fixtures hand to tests: makers of users, devices and workers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from django.contrib.auth.models import User

from demo_project import services
from tests.support.device import Device

if TYPE_CHECKING:
    from tests.shelters.models import Shelter

DeviceFactory = Callable[..., Device]


class UserFactory(Protocol):
    def __call__(self, *shelters: "Shelter", name: str = ..., writes: bool = ..., **fields: Any) -> User: ...


class WorkerFactory(Protocol):
    def __call__(
        self, *, concurrency: int = ..., queues: tuple[str, ...] = ..., env: dict[str, str] | None = ...
    ) -> services.Service: ...


Declare = Callable[..., None]
