"""Finished models, kept where DVC does not see them, so that a changed comment in the code does not train them again.

DVC removes the outputs of a stage before it runs the stage again, and runs it whenever a file of its code changed.
A model depends on less: settings, data, versions, and the code without comments (`dferc.core.sources`).

While a model is trained, its state after the last epoch lies beside the finished models. A kill costs one epoch.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dferc.core.console import console, print_note
from dferc.core.errors import InputError, listed
from dferc.core.files import file_hash
from dferc.training.resume import claim

_MADE = ".made.json"  # hashes of a kept model's files, which are those of `out` by hard links: an editor changes both
_LEFT = re.compile(r"[0-9a-f]{64}(\.unfinished)?|\.[0-9a-f]{64}\.\d+\.part")  # names by a key that `key_of` made
DEFAULT_PATH = Path(".scratch/models")

KEPT_DAYS = 30  # days that a model is kept after its last use


def state_folder(scratch: Path, key: str) -> Path:
    """Return the folder of the states of unfinished trainings of a model; it goes when the model is finished."""
    return scratch / f"{key}.unfinished"


def make_or_reuse(out: Path, key: str, scratch: Path, make: Callable[[Path], None]) -> None:
    """Replace the folder `out` by the model kept in `scratch`, or by the one that `make` writes into an empty folder.

    A kill leaves `out` as it was. `make` may keep its state in `state_folder`, and resume from it. Another process that
    makes the same model is waited for. A folder of other files is never replaced.

    Args:
        out: folder of the model.
        key: hash of everything that determines the model.
        scratch: folder of kept models.
        make: fills an empty folder.

    Raises:
        InputError: `out` has files, and none of a model's.
    """
    kept, states = scratch / key, state_folder(scratch, key)
    made = kept / _MADE
    if made.is_file() and made.read_text(encoding="utf-8") != _hashes(kept):
        print_note(f"{kept}, the kept model, was changed since it was made (perhaps through {out}); it is made again")
        shutil.rmtree(kept)
    if not kept.is_dir():
        for folder in scratch.glob("*") if scratch.is_dir() else ():  # unused models, and what killed processes left
            ours = (folder / _MADE).is_file() or _LEFT.fullmatch(folder.name)  # --scratch may name a folder of others
            if ours and time.time() - folder.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
                console.print(f"removed {folder}: not used for {KEPT_DAYS} days")
    waiting = f"{out}: another process is training this model; waiting for it to finish"
    with claim(states / "state.pt", lambda: console.print(waiting)):  # also to place it: two at once would mix halves
        try:
            if kept.is_dir():
                console.print(f"{out}: the same model was finished earlier; taken from {kept}")
                os.utime(kept)
            else:
                _make(kept, make)
            _place(kept, out)
        finally:
            if kept.is_dir() or not any(states.glob("*.pt")):
                shutil.rmtree(states, ignore_errors=True)


def _place(kept: Path, out: Path) -> None:
    """Replace the folder `out` by a kept model."""
    there, new = ({path.name for path in folder.glob("[!.]*")} for folder in (out, kept))
    if there and not there & new - {"config.json", "metrics.json", "model.safetensors", "history.csv"}:  # a run's, too
        raise InputError(f"{out} holds no model but {listed(sorted(there), 5)}: it is not replaced. Name another.")
    out = out.resolve()  # a link stays one
    whole, gone = (out.with_name(f".{out.name}.{end}") for end in ("part", "old"))
    out.mkdir(parents=True, exist_ok=True)
    for entry in whole.glob(".*"):  # of others, such as git: a kill left them there
        entry.rename(out / entry.name)
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(kept, whole, copy_function=_link, ignore=shutil.ignore_patterns(".*"))
    for entry in out.glob(".*"):
        entry.rename(whole / entry.name)
    shutil.rmtree(gone, ignore_errors=True)
    out.rename(gone)  # at once: half a model would be taken for other files
    whole.replace(out)
    shutil.rmtree(gone, ignore_errors=True)


def _make(kept: Path, make: Callable[[Path], None]) -> None:
    """Let `make` fill a temporary folder, and rename it to `kept`."""
    for killed in kept.parent.glob(f".{kept.name}.*.part"):  # the caller holds this model, so nobody fills it
        shutil.rmtree(killed, ignore_errors=True)
    part = kept.with_name(f".{kept.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        make(part)
        for path in part.rglob("*"):
            if path.is_file():
                path.chmod(0o644)  # safetensors makes its files private; models are for sharing
        (part / _MADE).write_text(_hashes(part), encoding="utf-8")
        part.replace(kept)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _hashes(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MADE)
    return json.dumps({path.relative_to(folder).as_posix(): file_hash(path) for path in files})


def _link(source: str, target: str) -> None:
    """Make a hard link, or a copy where the file system has no links: an encoder has gigabytes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
