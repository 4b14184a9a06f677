"""The protocol, pure: words, clocks, the merge, strategies and the snapshot format. Standard library only.

The server and the Python SDK share this package; neither Django nor a database may be imported here.
"""

from .ids import uuid7

__all__ = ["PROTOCOL_VERSION", "uuid7"]

PROTOCOL_VERSION = 1
