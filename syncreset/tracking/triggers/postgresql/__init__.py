"""What ``install`` asks of a database: until there is a Protocol, a module with these names."""

from .catalog import *  # noqa: F403
from .rows import *  # noqa: F403
from .sql import *  # noqa: F403
