"""Finished models, kept where DVC does not see them, so that a changed comment in the code does not train them again.

DVC removes the outputs of a stage before it runs the stage again, and runs it whenever a file of its code changed.
A model depends on less: settings, data, versions, and the code without comments (`dferc.core.sources`).
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dferc.core.console import console

DEFAULT_PATH = Path(".scratch/models")

KEPT_DAYS = 30
"""Days that a model is kept after its last use."""


def make_or_reuse(out: Path, key: str, scratch: Path, make: Callable[[Path], None]) -> None:
    """Replace the folder `out` by the model kept in `scratch`, or by the one that `make` writes into an empty folder.

    `key` is a hash of everything that determines the model. A kill leaves `out` as it was.
    """
    kept = scratch / key
    if kept.is_dir():
        console.print(f"{out}: the same model was finished earlier; taken from {kept}", markup=False)
        os.utime(kept)
    else:
        for folder in scratch.glob("*") if scratch.is_dir() else ():  # unused models, and what killed processes left
            if time.time() - folder.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
                console.print(f"removed {folder}: not used for {KEPT_DAYS} days", markup=False)
        part = scratch / f".{key}.{os.getpid()}.part"
        part.mkdir(parents=True)
        try:
            make(part)
            for path in part.rglob("*"):
                if path.is_file():
                    path.chmod(0o644)  # safetensors makes its files private; models are for sharing
            shutil.rmtree(kept, ignore_errors=True)  # another process was quicker
            part.replace(kept)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    whole = out.with_name(f".{out.name}.part")
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(kept, whole, copy_function=_link)
    shutil.rmtree(out, ignore_errors=True)
    whole.replace(out)


def _link(source: str, target: str) -> None:
    """Make a hard link, or a copy where the file system has no links: an encoder has gigabytes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
