"""Jobs: a queue, worker processes that take from it, and the deletion of everything that a job leaves.

One odd file kills at most its own job: each job runs in a process (`pipeline.serve.worker`), which is started again
when it dies. A job is deleted on request, after it was fetched whole, or some time after it ended; nothing of it
outlives the server.
"""

import asyncio
import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from dferc.core.errors import InputError
from pipeline.serve.interface import JobStatus, StepStatus
from pipeline.serve.uploads import FILES, Upload

WORKER = (sys.executable, "-P", "-m", "pipeline.serve.worker")
ROOT = Path(__file__).parents[2]  # of the package `pipeline`, which a worker imports

_MOST_LINE = 1 << 20  # bytes of a worker's answer
_SWEEP_S = 5.0  # between two looks for jobs whose time is over


class WorkerLostError(Exception):
    """A worker process ended without an answer."""


@dataclass(eq=False)
class ServedJob:
    """One medium on its way through the server."""

    id: str
    folder: Path
    upload: Upload
    state: str = "waiting"  # waiting, running, done, failed
    message: str = ""  # why it failed
    ended_s: float | None = None
    files: list[str] = field(default_factory=list)  # of the result
    steps: list[tuple[str, float, float]] = field(default_factory=list)  # name, when it began, when its share changed
    share: float = 0.0  # of the last step
    task: asyncio.Task | None = None

    @property
    def name(self) -> str:
        """Name of the medium, for display."""
        return self.upload.names["media"]

    def advance(self, step: str, share: float) -> None:
        """Record the progress of a step, or the begin of the next one."""
        now = time.monotonic()
        begun = self.steps.pop()[1] if self.steps and self.steps[-1][0] == step else now
        self.steps.append((step, begun, now))
        self.share = min(1.0, max(0.0, share))

    def end(self, state: str, message: str = "") -> None:
        """Record the outcome; a failed job keeps nothing but its message."""
        self.state, self.message, self.ended_s = state, message, time.time()
        if state == "failed":
            shutil.rmtree(self.folder, ignore_errors=True)


class RecogniserProcess:
    """Worker process with a loaded model, started when it is first needed."""

    def __init__(self, command: Sequence[str], options: dict, threads: int):
        self._command, self._options, self._threads = command, options, threads
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> dict:
        """Start the process and load the model; return what it says of itself.

        Raises:
            InputError: the model cannot be loaded.
        """
        paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
        threads = {name: str(self._threads) for name in ("OMP_NUM_THREADS", "DFERC_WORKERS")}
        Path(self._options["cache"]).mkdir(mode=0o700, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's alone; and the group ends with all that a job has started
            limit=_MOST_LINE,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
        )
        try:
            workers = self._threads if self._threads > 1 else 0  # 0 = in the process itself
            answer = await self._ask({"load": {**self._options, "workers": workers}})
        except WorkerLostError as error:
            raise InputError(f"the model could not be loaded: {error}. Its messages are above.") from None
        if "failed" in answer:
            await self.stop()
            raise InputError(answer["failed"])
        return answer["ready"]

    async def run(self, request: dict) -> AsyncIterator[dict]:
        """Yield the answers to one job, the last of which has `done` or `failed`.

        Raises:
            InputError: the model cannot be loaded.
            WorkerLostError: the process died.
        """
        if self._process is None or self._process.returncode is not None:  # not started yet, or died while idle
            await self.stop()
            await self.start()
        answer = await self._ask(request)
        while "step" in answer:
            yield answer
            answer = await self._next()
        yield answer

    async def stop(self) -> None:
        """Kill the process and all that it started."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        shutil.rmtree(self._options["cache"], ignore_errors=True)

    async def _ask(self, request: dict) -> dict:
        with contextlib.suppress(ConnectionError):  # died while idle: reading its answer will show that
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._next()

    async def _next(self) -> dict:
        if line := await self._process.stdout.readline():
            return json.loads(line)
        code = await self._process.wait()
        await self.stop()
        raise WorkerLostError(f"signal {-code}" if code < 0 else f"exit status {code}")


class JobQueue:
    """Jobs of a server, in order of arrival; an async context manager that loads the model and deletes everything."""

    def __init__(
        self,
        root: Path,
        options: dict,
        *,
        slots: int = 1,
        keep_s: float = 3600.0,
        most_waiting: int = 50,
        command: Sequence[str] = WORKER,
    ):
        """Prepare a queue.

        Args:
            root: folder for all files of all jobs.
            options: of `Recogniser.load`, but `cache`.
            slots: jobs that run at a time.
            keep_s: seconds after which a job that has ended is deleted.
            most_waiting: jobs that may wait.
            command: of a worker.
        """
        self.root, self.slots, self.keep_s, self.most_waiting = root, slots, keep_s, most_waiting
        self.jobs: dict[str, ServedJob] = {}
        self.model: dict = {}
        threads = max(1, (os.cpu_count() or 1) // slots)
        caches = [str(root / f"cache-{number}") for number in range(slots)]
        self._idle = [RecogniserProcess(command, {**options, "cache": cache}, threads) for cache in caches]
        self._processes = tuple(self._idle)
        self._sweeper: asyncio.Task | None = None

    async def __aenter__(self) -> Self:
        """Load the model in one process; the others do so when they are needed."""
        try:
            self.model = await self._idle[-1].start()
        except BaseException:
            await self.__aexit__()
            raise
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *_) -> None:
        """End running jobs and delete all."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for job in list(self.jobs.values()):
            await self.remove(job)
        for process in self._processes:
            await process.stop()

    def count(self, state: str) -> int:
        """Return the number of jobs in a state."""
        return sum(job.state == state for job in self.jobs.values())

    def new_folder(self) -> tuple[str, Path]:
        """Make the folder of a job; return the id, which nobody can guess, and the folder."""
        name = secrets.token_urlsafe(24)
        folder = self.root / name
        folder.mkdir(mode=0o700)
        return name, folder

    def add(self, job: ServedJob) -> None:
        """Put a job at the end of the queue."""
        self.jobs[job.id] = job
        self._deal()

    async def remove(self, job: ServedJob) -> None:
        """Delete a job and its files, whatever its state; a running one ends."""
        self.jobs.pop(job.id, None)
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
        await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)

    def status(self, job: ServedJob) -> JobStatus:
        """Return what the API says of a job."""
        steps, now = [], time.monotonic()
        for (name, begun, changed), following in zip(job.steps, [*job.steps[1:], None]):
            if following is not None or job.state != "running":
                seconds = (following[1] if following else changed) - begun
                steps.append(StepStatus(name=name, share=1.0, seconds=seconds, seconds_left=0.0))
                continue
            left = (changed - begun) * (1 - job.share) / job.share - (now - changed) if job.share > 0 else None
            left = None if left is None else max(0.0, left)
            steps.append(StepStatus(name=name, share=job.share, seconds=now - begun, seconds_left=left))
        waiting = [each for each in self.jobs.values() if each.state == "waiting"]
        return JobStatus(
            id=job.id,
            name=job.name,
            state=job.state,
            position=waiting.index(job) + 1 if job in waiting else None,
            message=job.message,
            steps=steps,
            seconds_to_deletion=None if job.ended_s is None else max(0.0, job.ended_s + self.keep_s - time.time()),
            files={file: f"/api/jobs/{job.id}/{file}" for file in job.files},
        )

    def _deal(self) -> None:
        """Give waiting jobs to idle processes; the last one that worked has its model loaded."""
        waiting = [job for job in self.jobs.values() if job.state == "waiting"]
        for job in waiting[: len(self._idle)]:
            job.state, process = "running", self._idle.pop()
            job.task = asyncio.create_task(self._run(job, process))
            job.task.add_done_callback(functools.partial(self._free, process))  # also where it never began

    def _free(self, process: RecogniserProcess, _: asyncio.Task) -> None:
        self._idle.append(process)
        self._deal()

    async def _run(self, job: ServedJob, process: RecogniserProcess) -> None:
        upload = job.upload
        request = {"folder": str(job.folder), "language": upload.fields.get("language") or None}
        for key in FILES:
            request[key] = str(upload.files[key]) if key in upload.files else None
            request[f"{key}_name"] = upload.names.get(key)
        try:
            async for answer in process.run(request):
                if "step" in answer:
                    job.advance(answer["step"], answer["share"])
                else:
                    job.files = answer.get("done", [])
                    job.end("failed" if "failed" in answer else "done", answer.get("failed", ""))
        except asyncio.CancelledError:
            await process.stop()
        except WorkerLostError as error:
            cause = "the process that worked on this file died"
            job.end("failed", f"{cause} ({error}). Is the memory of this computer too small for it?")
        except InputError as error:
            job.end("failed", str(error))
        except OSError as error:  # of the start: the disk or the memory is full
            job.end("failed", f"no process could be started for this file: {error.strerror}")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, self.keep_s))
            for job in list(self.jobs.values()):
                if job.ended_s is not None and time.time() - job.ended_s > self.keep_s:
                    await self.remove(job)
