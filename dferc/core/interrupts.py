"""Ctrl-C (SIGINT) and SIGTERM from the first import of a command on.

An exception that is raised inside an import can leave a half-made module, and libraries turn it into others. So until a
command begins, and while it imports a library, a signal ends the process at once: nothing is lost, since every file is
written whole. Elsewhere it raises `KeyboardInterrupt`.
"""

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

COMMANDS = ("dferc", "dferc-train", "dferc-ablate", "dferc-video", "dferc-serve")  # names of the installed scripts
ALLOCATIONS = 50_000  # new objects between two collections of the youngest; Python's own number is 700

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OURS = ("__main__", "dferc", "pipeline")  # modules whose imports are the start of a command
_MESSAGE = b"interrupted while the program was starting; finished work is kept: the same command goes on from there\n"
_RETRY_S = 0.05


def watch_startup() -> None:
    """Let a signal end this process at once, if it is one of our commands; `import dferc` elsewhere changes nothing.

    No garbage is collected until `begin_work`: imports make objects that stay, and to look through them again and again
    takes up to two seconds.
    """
    starts = sys.argv[:1] == ["-m"] or os.path.basename(sys.argv[0] if sys.argv else "") in COMMANDS
    # A spawned worker has its parent's arguments; the parent ends it.
    if starts and "--multiprocessing-fork" not in sys.orig_argv:
        gc.disable()
        for number in _watched():
            signal.signal(number, _end)


def begin_work() -> None:
    """Collect garbage from here on, seldom, since commands import more; what is imported by now is left alone."""
    if not gc.isenabled():
        gc.freeze()
        atexit.register(lambda: "triton" in sys.modules and gc.unfreeze())  # else nanobind reports leaks
        gc.set_threshold(ALLOCATIONS, 10, 10)
        gc.enable()


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM raise `KeyboardInterrupt`; yield a list that holds each signal once it has arrived."""
    received: list[int] = []
    begin_work()

    def interrupt(number: int, frame: FrameType | None) -> None:
        importer = _importer(frame)
        if importer in _OURS:
            _end(number, frame)
        if importer is not None:  # a library imports a part of itself in the midst of work: wait until it has
            again = threading.Timer(_RETRY_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the saving
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _watched()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watched() -> list[int]:
    """Return the signals to handle: none outside the main thread; no SIGINT in a background job, which ignores it."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def _end(number: int, _: FrameType | None) -> None:
    os.write(2, _MESSAGE)
    os._exit(128 + number)


def _importer(frame: FrameType | None) -> str | None:
    """Return the top-level package whose import is under way, the outermost if several are; None = there is none."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>" and frame.f_back is not None:
            importer = frame.f_back
        frame = frame.f_back
    return None if importer is None else importer.f_globals.get("__name__", "").partition(".")[0]
