"""`dferc-serve`: its options, its folder for uploads, and the web server."""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from dferc.core.console import console, print_note, printable, readable_errors, shown_option, warn_of_simulation
from dferc.core.errors import InputError

PREFIX = "dferc-serve-"  # of the folder for uploads, below the one for temporary files
YOUNG_S = 10.0  # age of a folder whose server may not have locked it yet
SLOT_BYTES = 2_000_000_000  # memory of one job with its models, roughly
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--model", envvar="DFERC_MODEL", help="Bundle (folder, .zip or hub id) or run.  [default: params.yaml]")
@click.option("--revision", help="Of a bundle on the hub: branch, tag or commit.")
@shown_option("--host", default="127.0.0.1", help="Address to listen on; others can reach 0.0.0.0.")
@shown_option("--port", type=click.IntRange(0, 65535), default=8765, help="0 = any free one.")
@click.option("--allow-host", multiple=True, help="Further name of this server, as a proxy passes it on.  Repeatable.")
@shown_option("--limit-mb", type=click.FloatRange(min=0, min_open=True), default=2000, help="Largest upload.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Videos at a time; they share the cores.  [default: one per core]"
)
@shown_option(
    "--keep-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=60,
    help="Time from the end of a job until it is deleted.",
)
@shown_option("--asr", default="small", help="Speech recognition: a name or folder of Whisper.")
@click.option("--language", help="Language of the speech, where the page names none.  [default: recognised]")
@click.option("--diarize", help="Model of pyannote.audio that tells speakers apart.  [default: one speaker]")
@shown_option("--abstain", type=click.FloatRange(0, 1), default=0.0, help="Least probability.")
@shown_option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", help="Of the networks.")
@readable_errors
def main(model, host, port, allow_host, limit_mb, jobs, keep_minutes, **options) -> None:
    """Serve a page on which a video is dropped, and its emotions are seen; also as a JSON API.

    Nothing leaves this computer. Uploads and results are deleted on request, after --keep-minutes, and when the server
    ends (Ctrl-C). Unless --host says otherwise, only this computer can reach it.
    """
    if not (limit_mb < 1e9 and keep_minutes < 1e9):  # infinity, and what is no number
        raise click.UsageError("--limit-mb and --keep-minutes are numbers below 1e9.")
    try:
        from pipeline.serve.jobs import JobQueue
    except ModuleNotFoundError as error:
        raise InputError(f"dferc-serve needs {error.name}, which is not installed: pip install '.[serve]'") from None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    slots = jobs or max(1, min(os.cpu_count() or 1, memory // SLOT_BYTES))  # one per core, as far as the memory goes
    make_queue = partial(JobQueue, options={"source": model, **options}, slots=slots, keep_s=60 * keep_minutes)
    serve(make_queue, host, port, int(1e6 * limit_mb), allow_host)


def serve(make_queue: Callable, host: str, port: int, limit_bytes: int, names: Sequence[str] = ()) -> None:
    """Load the model, then answer requests until a signal arrives.

    Args:
        make_queue: makes the `JobQueue` of a folder.
        host: address to listen on.
        port: of it; 0 = any free one.
        limit_bytes: most bytes of an upload.
        names: further names of this server.

    Raises:
        InputError: the address is in use, or the model cannot be loaded.
        KeyboardInterrupt: a signal has ended it.
    """
    with _listening(host, port) as listener, _own_folder() as folder:
        try:
            asyncio.run(_serve(make_queue(folder), listener, host, limit_bytes, names))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("dferc-serve has ended; all uploads and results are deleted") from None


async def _serve(queue, listener: socket.socket, host: str, limit_bytes: int, names: Sequence[str]) -> None:
    import uvicorn

    from pipeline.serve.application import make_app

    class QuietServer(uvicorn.Server):
        """Server that reports nothing of the requests that its end cuts off."""

        async def shutdown(self, sockets=None) -> None:
            logging.getLogger("uvicorn.error").disabled = True
            await super().shutdown(sockets)

    console.print("loading the model …")
    async with queue:
        config = uvicorn.Config(
            make_app(queue, limit_bytes, names),
            lifespan="off",
            log_level="warning",
            access_log=False,  # addresses and ids are nobody's business
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        shown = "127.0.0.1" if host in ("0.0.0.0", "localhost") else f"[{host}]" if ":" in host else host
        warn_of_simulation(queue.model["synthetic"], "its emotions")
        if problem := queue.model["speech_problem"]:
            print_note(f"{problem} Until then, every video needs a transcript.", "no speech recognition:")
        if host not in LOOPBACK:
            print_note(
                f"--host {printable(host)}: whoever reaches this computer can upload, and the connection is not "
                "encrypted. Use it in a network that you trust, or behind a proxy with a password and TLS.",
                "warning:",
            )
        console.print(f"{queue.model['name']}: http://{shown}:{listener.getsockname()[1]}  (Ctrl-C ends it)")
        await QuietServer(config).serve([listener])


def _listening(host: str, port: int) -> socket.socket:
    """Bind a socket; an address in use or not of this machine is an InputError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"cannot listen on {printable(host)}, port {port} ({error}). Choose another --port, or an address of this "
            "computer for --host."
        ) from None


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a private folder for uploads, and delete it at the end; also delete what a killed server has left."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            about = left.lstat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > YOUNG_S:
                with open(left / "lock", "rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its server lives
                    shutil.rmtree(left, ignore_errors=True)
    try:
        folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)  # mode 0700
    except OSError as error:
        raise InputError(f"{parent}: no folder for uploads can be made there ({error}). Set TMPDIR.") from None
    with folder as name, open(Path(name, "lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)
