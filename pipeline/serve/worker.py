"""Process that runs jobs: one loaded model, one job at a time, JSON lines on stdin and stdout.

    in:  {"load": {options of Recogniser.load}}, then {"folder": …, "media": …, …} for each job
    out: {"ready": {…}}, then {"step": …, "share": …} during a job, and {"done": [file, …]} or {"failed": message}

It ends with the server, however that ends: its stdin is closed then. Whatever a job does to it, others go on: the
server starts another process.
"""

import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dferc.core.console import shorten
from dferc.core.errors import InputError, explained
from dferc.core.interrupts import begin_work
from dferc.results.emotions import Emotions

Load = Callable[..., Callable[..., Emotions]]  # `load_recogniser`, or a stand-in of tests

ARCHIVE = "results.zip"
REPORTED_S = 0.2  # between two reports of progress
PAGE = "page"  # folder of the page that the server shows; the page among the results refers to the user's own file


def run_jobs(load: Load) -> None:
    """Load a model, then run jobs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    requests = _requests()
    options = next(requests)["load"]
    try:
        recognise = load(**options)
        answer(ready=describe(recognise))
    except InputError as error:
        answer(failed=shorten(str(error)))
        return
    begin_work()
    language = options.get("language")
    for request in requests:
        try:
            wanted = request["language"] or options.get("language")
            if wanted != language:
                recognise, language = load(**{**options, "language": wanted}), wanted
            answer(done=run_job(recognise, request, _seldom(answer)))
        except Exception as error:
            if (message := explained(error)) is None:
                traceback.print_exc()
                cause = shorten(f"{type(error).__name__}: {error}")
                message = f"a fault of the program ({cause}); its terminal shows where. Please report it"
            answer(failed=renamed(shorten(message), request))
        finally:  # what a job leaves in the cache, such as its words, goes: nothing of it stays
            cache = options.get("cache")
            for path in Path(cache).iterdir() if cache and Path(cache).is_dir() else ():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def run_job(recognise: Callable[..., Emotions], request: dict, progress: Callable[[str, float], None]) -> list[str]:
    """Write the results of one job below its folder: every format, a zip of all, and the page to show.

    Returns:
        Names of the files in `results`.
    """
    folder, media = Path(request["folder"]), Path(request["media"])
    transcript = Path(request["transcript"]) if request["transcript"] else None
    found = recognise(media, transcript, progress, (request["media_name"], request["transcript_name"]))
    text = renamed(found.model_dump_json(by_alias=True), request, lambda name: json.dumps(name)[1:-1])
    emotions = Emotions.model_validate_json(text)
    results = folder / "results"
    written = emotions.write(results, media=results / request["media_name"])
    with zipfile.ZipFile(results / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in written:
            archive.write(path, path.name)
    emotions.to_html(folder / PAGE / "index.html", media=media)
    return [*(path.name for path in written), ARCHIVE]


def renamed(text: str, request: dict, escape: Callable[[str], str] = str) -> str:
    """Return a text with the user's names in place of the random ones of this disk."""
    for key in ("media", "transcript"):
        if request[key]:
            path, name = Path(request[key]), request[f"{key}_name"]
            for ours, theirs in ((str(path), name), (path.name, name), (path.stem, Path(name).stem)):
                text = text.replace(ours, escape(theirs))
    return text.replace(f"{Path(request['folder']).parent}/", "")  # as of results that could not be written


def _seldom(answer: Callable[..., None]) -> Callable[[str, float], None]:
    """Return a `progress` that reports the begin of each step, and its share a few times a second at most."""
    last = ["", 0.0]

    def progress(step: str, share: float) -> None:
        now = time.monotonic()
        if step != last[0] or now - last[1] >= REPORTED_S:
            last[:] = step, now
            answer(step=step, share=share)

    return progress


def describe(recognise: Any) -> dict:
    """Return what the page shows of a loaded model."""
    manifest = recognise.bundle.manifest
    lists = {name: list(getattr(manifest, name)) for name in ("classes", "modalities", "synthetic")}
    return {"name": recognise.name, "corpus": manifest.corpus, "speech_problem": recognise.speech_problem, **lists}


def _requests() -> Iterator[dict]:
    """Yield the requests on stdin; when it ends, this process and all that it started end at once."""
    requests: queue.Queue[dict] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield requests.get()


def load_recogniser(source: str | None, cache: str, **options: Any) -> Any:
    """Load a model and its speech recognition, which may fetch weights; from then on, nothing is fetched.

    What it keeps of uploads goes to `cache`; what it unpacks of itself goes to the user's cache.
    """
    from huggingface_hub import constants

    from pipeline import Recogniser
    from pipeline.settings import default_model

    recogniser = Recogniser.load(source or default_model(), **options)
    recogniser.cache = Path(cache)
    recogniser.speech_problem = ""
    try:
        recogniser.load_speech()
    except InputError as error:  # media with a transcript do without
        recogniser.speech_problem = str(error)
    constants.HF_HUB_OFFLINE = True
    return recogniser


if __name__ == "__main__":
    run_jobs(load_recogniser)
