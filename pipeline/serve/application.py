"""The web application: pages, and the JSON API that they use."""

import html
import mimetypes
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from dferc.results.page import SHARED, source_hash
from pipeline.serve.guard import Guard
from pipeline.serve.interface import ApiError, Health, QueueStatus, openapi
from pipeline.serve.jobs import JobQueue, ServedJob
from pipeline.serve.uploads import ending, receive
from pipeline.serve.worker import PAGE

HERE = Path(__file__).parent / "page"
STATIC = {"base.css": SHARED / "base.css", "serve.css": HERE / "serve.css", "serve.js": HERE / "serve.js"}


def make_app(jobs: JobQueue, limit_bytes: int, names: Sequence[str] = ()) -> Starlette:
    """Build the application.

    Args:
        jobs: the queue, entered already or entered with the application's lifespan.
        limit_bytes: most bytes of an upload.
        names: of this server, besides localhost, addresses and this machine's name.
    """
    pages = _Pages(jobs, limit_bytes)
    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/jobs/{id}", pages.index),
            Route("/jobs/{id}/page/index.html", pages.result),
            Route("/jobs/{id}/upload/{file}", pages.medium),
            Route("/static/{file}", pages.static),
            Route("/health", pages.health),
            Route("/openapi.json", pages.openapi),
            Route("/api/jobs", pages.create, methods=["POST"]),
            Route("/api/jobs/{id}", pages.status),
            Route("/api/jobs/{id}", pages.delete, methods=["DELETE"]),
            Route("/api/jobs/{id}/{file}", pages.file),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={HTTPException: _explain, ClientDisconnect: _give_up},
    )


async def _give_up(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it: the client has gone


async def _explain(request: Request, error: HTTPException) -> Response:
    """Answer with an error: a page for a browser that shows it, else JSON."""
    # A body that was not read would be taken for the next request.
    headers = {**(error.headers or {}), "Connection": "close"}
    detail = {
        HTTPStatus.NOT_FOUND.phrase: f"there is no page {request.url.path[:200]} on this server",
        HTTPStatus.METHOD_NOT_ALLOWED.phrase: f"{request.url.path[:200]} does not answer to {request.method}",
    }.get(error.detail, error.detail)
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        page = (HERE / "error.html").read_text(encoding="utf-8").replace("{{ detail }}", html.escape(detail))
        return HTMLResponse(page, error.status_code, headers)
    return JSONResponse(ApiError(error=detail).model_dump(), error.status_code, headers)


class _Pages:
    """Handlers of the routes."""

    def __init__(self, jobs: JobQueue, limit_bytes: int):
        self._jobs, self._limit = jobs, limit_bytes

    async def index(self, _: Request) -> Response:
        """Answer with the page; its script shows a form, or the job that its address names."""
        return FileResponse(HERE / "index.html")

    async def static(self, request: Request) -> Response:
        """Answer with a style or a script."""
        if (path := STATIC.get(request.path_params["file"])) is None:
            raise HTTPException(404, "no such file")
        return FileResponse(path)

    async def health(self, _: Request) -> Response:
        """Answer with the state of the server."""
        jobs = self._jobs
        queue = QueueStatus(running=jobs.count("running"), waiting=jobs.count("waiting"), slots=jobs.slots)
        health = Health(model=jobs.model, queue=queue, limit_bytes=self._limit, keep_minutes=jobs.keep_s / 60)
        return JSONResponse(health.model_dump())

    async def openapi(self, _: Request) -> Response:
        """Answer with the schema of the API."""
        return JSONResponse(openapi())

    async def create(self, request: Request) -> Response:
        """Take an upload and put its job into the queue."""
        if self._jobs.count("waiting") >= self._jobs.most_waiting:
            raise HTTPException(503, f"{self._jobs.most_waiting} jobs are waiting; try again later")
        name, folder = self._jobs.new_folder()
        try:
            (folder / "upload").mkdir()
            job = ServedJob(name, folder, await receive(request, folder / "upload", self._limit))
        except BaseException:  # also a broken-off upload, and the end of the server
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._jobs.add(job)
        return JSONResponse(self._jobs.status(job).model_dump(), 201, {"Location": f"/api/jobs/{job.id}"})

    async def status(self, request: Request) -> Response:
        """Answer with the state of a job."""
        return JSONResponse(self._jobs.status(self._job(request)).model_dump())

    async def delete(self, request: Request) -> Response:
        """End and delete a job."""
        await self._jobs.remove(self._job(request))
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        """Answer with a file of the result, under a name made of the medium's."""
        file = request.path_params["file"]
        job = self._finished(request)
        if file not in job.files:
            raise HTTPException(404, f"no such file; this result has {', '.join(job.files)}")
        then = partial(self._jobs.remove, job) if request.query_params.get("delete") == "true" else None
        return _Download(job.folder / "results" / file, then, filename=f"{Path(job.name).stem}.{file}")

    async def result(self, request: Request) -> Response:
        """Answer with the page of a result: its own scripts run, by their hashes, and no others."""
        page = (self._finished(request).folder / PAGE / "index.html").read_text(encoding="utf-8")
        hashes = " ".join(map(source_hash, re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)))
        policy = (
            f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
            "media-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        )
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    async def medium(self, request: Request) -> Response:
        """Answer with the uploaded medium, or with a range of its bytes."""
        job = self._finished(request)
        path = job.upload.files["media"]
        if request.path_params["file"] != path.name:
            raise HTTPException(404, "no such file")
        kind = mimetypes.guess_type(f"media{ending(job.name)}")[0] or ""
        kind = kind if kind.startswith(("audio/", "video/")) else "application/octet-stream"
        return FileResponse(path, media_type=kind)

    def _job(self, request: Request) -> ServedJob:
        job = self._jobs.jobs.get(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "no such job: it was deleted, or there never was one")
        return job

    def _finished(self, request: Request) -> ServedJob:
        job = self._job(request)
        if job.state != "done":
            why = f" ({job.message})" if job.message else ""
            raise HTTPException(409, f"the job has no result: it is {job.state}{why}")
        return job


class _Download(FileResponse):
    """File of a result; `then` is called once the whole file was sent, and not after a part or a broken-off transfer.

    A background task would not do: Starlette runs it after a broken-off transfer, too.
    """

    def __init__(self, path: Path, then: Callable[[], Awaitable[None]] | None, **options):
        super().__init__(path, **options)
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        status, whole = 0, False

        async def watch(message: Message) -> None:
            nonlocal status, whole
            status = message.get("status", status)
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body")

        await super().__call__(scope, receive, watch)
        if self._then is not None and whole and status == 200 and scope["method"] == "GET":
            await self._then()
