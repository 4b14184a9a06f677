"""The processes that the demo runs start, answer, end with their block, and can be killed."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from demo_project import services

pytestmark = pytest.mark.acceptance


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_redis_answers_while_its_block_lasts(tmp_path: Path) -> None:
    with services.embedded_redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.set("key", "value")
        port = urlsplit(server.url).port
        assert port is not None
        assert not services.port_is_free(port)
    assert gone(server.pid)
    assert services.port_is_free(port)


def test_the_demo_answers_on_its_landing_page(tmp_path: Path) -> None:
    environment = {"DEMO_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "demo_project.settings"}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=services.PROJECT_DIR,
        env=os.environ | environment,
        check=True,
    )
    with services.http_server(log=tmp_path / "http.log", env=environment) as server:
        address = urlsplit(server.url)
        connection = http.client.HTTPConnection(address.netloc, timeout=10)
        connection.request("GET", "/")
        response = connection.getresponse()
        page = response.read().decode()
        connection.request("GET", "/static/admin/css/base.css")
        style = connection.getresponse()
        style.read()
        connection.close()
    assert response.status == 200
    assert 'href="/admin/"' in page
    assert style.status == 200


def test_killing_ends_the_children_too(tmp_path: Path) -> None:
    with services.celery_worker(
        app="tests.celeryapp", log=tmp_path / "worker.log", env=redisless()
    ) as worker:
        children = psutil.Process(worker.pid).children(recursive=True)
        assert len(children) == 2
        worker.kill()
        assert not worker.alive()
    psutil.wait_procs(children, timeout=5)
    assert all(gone(child.pid) for child in children)


def test_a_process_that_ends_early_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no database')"]
    with (
        services.running("example", command, log=tmp_path / "example.log") as service,
        pytest.raises(services.ServiceFailed, match="no database"),
    ):
        service.wait_until(lambda: False)


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    script = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
    with services.running("stubborn", [sys.executable, "-c", script], log=tmp_path / "log") as service:
        service.wait_until(lambda: "up" in service.log_text())
        service.stop(timeout=0.2)
        assert service.process.returncode == -signal.SIGKILL


def test_terminating_the_parent_ends_its_services(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from demo_project import services
with services.signals_as_interrupt(), services.embedded_redis(Path({str(tmp_path)!r})) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""
    with services.running("parent", [sys.executable, "-c", script], log=tmp_path / "parent.log") as parent:
        parent.wait_until(lambda: parent.log_text().strip() != "")
        redis_pid = int(parent.log_text().split()[0])
        assert not gone(redis_pid)
        parent.process.terminate()
        parent.process.wait(10)
    deadline = time.monotonic() + 5
    while not gone(redis_pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(redis_pid)


def redisless() -> dict[str, str]:
    """The environment of a worker that needs neither Redis nor a database server."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "SYNCRESET_TEST_DATABASE": "sqlite",
        "CELERY_BROKER_URL": "memory://",
    }
