"""`dferc-serve` with a stand-in for the model: in this process, and as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from starlette.testclient import TestClient

from dferc.core.console import readable_errors
from pipeline.serve.application import make_app
from pipeline.serve.command import serve
from pipeline.serve.jobs import JobQueue
from tests.helpers.processes import end_with_parent
from tests.helpers.stand_in_recogniser import COMMAND

REPOSITORY = Path(__file__).parents[2]  # not of `common`, which imports PyTorch
LIMIT = 3_000_000  # bytes of an upload


@contextlib.contextmanager
def client(root: Path, limit: int = LIMIT, **options) -> Iterator[tuple[TestClient, JobQueue]]:
    """Yield a client of the application, and its queue; options are those of `JobQueue`."""
    queue = JobQueue(root, **{"options": {"source": None}, "command": COMMAND, **options})
    app = make_app(queue, limit)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        async with queue:
            yield

    app.router.lifespan_context = lifespan
    with TestClient(app, base_url="http://127.0.0.1") as one:
        yield one, queue


def upload(one: TestClient, content: bytes, name: str = "talk.mp4", **more) -> dict:
    """Start a job; return its status."""
    answer = one.post("/api/jobs", files={"media": (name, content), **more.pop("files", {})}, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def wait_for(one: TestClient, job: str, *states: str, within_s: float = 60.0) -> dict:
    """Return the status of a job once it is in one of these states."""
    deadline = time.monotonic() + within_s
    while (status := one.get(f"/api/jobs/{job}").json())["state"] not in states:
        assert time.monotonic() < deadline and status["state"] not in ("done", "failed"), status
        time.sleep(0.02)
    return status


@dataclass
class ServerProcess:
    """A running server."""

    process: subprocess.Popen
    url: str
    temporary: Path  # its folder for temporary files

    def end(self, number: int = signal.SIGTERM, within_s: float = 30.0) -> tuple[int, str]:
        """Send a signal; return the exit status and what was printed after the address."""
        self.process.send_signal(number)
        _, printed = self.process.communicate(timeout=within_s)
        return self.process.returncode, printed


@contextlib.contextmanager
def running(temporary: Path, slots: int = 1, limit: int = LIMIT, keep_s: float = 3600.0) -> Iterator[ServerProcess]:
    """Run a server on a free port, and end it."""
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.servers", str(slots), str(limit), str(keep_s)],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    )
    try:
        lines = iter(process.stderr.readline, "")
        url = next((line.split()[1] for line in lines if "http://" in line), None)
        assert url is not None, "the server did not start"
        yield ServerProcess(process, url, temporary)
    finally:
        process.kill()
        process.communicate(timeout=30)


if __name__ == "__main__":
    slots, limit, keep_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

    @click.command()
    @readable_errors
    def command() -> None:
        options = {"options": {"source": None}, "slots": slots, "keep_s": keep_s, "command": COMMAND}
        serve(partial(JobQueue, **options), "127.0.0.1", 0, limit)

    command([])
