"""Files of people: only regular ones are read; writes are atomic, so a file is whole or not there."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dferc.core.errors import InputError

CORPUS_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
"""Pattern of corpus names, which also name a block of params.yaml and many folders."""

SECTIONS = frozenset(
    "corpora ablate video tune sets prepare finetune_text extract_text train_face extract_audio extract_visual "
    "train".split()
)
"""Keys of params.yaml that name no corpus."""

MODALITY_NAME = r"^[a-z][a-z0-9_]{0,31}$"
"""Pattern of modality names, which also name files, columns and parts of a model."""

SELECTION = r"^(only|without)(-[a-z][a-z0-9_]{0,31}){1,16}$"
"""Pattern of variants that select modalities: `only-text-physiology`, `without-audio`."""

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Pattern of names that a user gives to a file or folder, and that every file system takes."""

SET_NAME = r"^[a-z][a-z0-9_]{0,31}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$"
"""Pattern of the names of feature sets: `audio`, or `audio/wavlm` for a further one."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STALE_S = 600.0  # age from which a temporary file is of a killed write: contents are written from memory, in seconds

_SPECIAL = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
_SPECIAL |= dict.fromkeys((stat.S_ISCHR, stat.S_ISBLK), "a device")


def regular_file(path: str | Path) -> Path:
    """Return the path of a regular file, to be opened next; links to one are followed.

    Call this before every `open` of a file that the user names: opening a named pipe or a device can wait forever, and
    reading one has no end.

    Raises:
        InputError: there is no file, it may not be looked at, or it is a folder, named pipe, socket or device.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: expected a file, and there is none to be read ({reason}).") from None
    if not stat.S_ISREG(mode):
        found = next((name for is_one, name in _SPECIAL.items() if is_one(mode)), "no file")
        raise InputError(f"{path} is {found}; expected a regular file. Save its content into a file, and name that.")
    return path


def refuse_device(path: str | Path) -> None:
    """Refuse a path that only looks like a file to write: renaming a new file over a device would replace it.

    Raises:
        InputError: it is a device, named pipe, socket or folder, or lies in /dev or /proc.
    """
    path = Path(path)
    folder = Path(os.path.realpath(path.absolute().parent))  # Path.resolve raises where links run in a circle
    if (path.exists() and not path.is_file()) or folder == Path("/dev") or Path("/proc") in (folder, *folder.parents):
        found = "a folder" if path.is_dir() else "no regular file, but a device, a pipe or the like"
        raise InputError(f"{path} is {found}; nothing was written. Name a file in a folder of yours.")


def write_atomically(path: str | Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    A kill or a full disk at any moment leaves the old file intact or the new one whole; an OSError of `write` becomes
    an InputError. Without `durable`, nothing waits for the disk: still safe against kills, not against a power cut.
    """
    path = Path(path)
    temporary = None
    try:
        refuse_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):  # left by killed writes of this file
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                if time.time() - part.stat().st_mtime > STALE_S:
                    part.unlink()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)  # mkstemp makes it private; features are for sharing
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        mend = "Is the disk full?" if error.errno in DISK_FULL else "Does the folder exist, and may you write there?"
        raise InputError(f"{path} could not be written ({error}); nothing was changed. {mend}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, atomically; its lines end the same way on every machine."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""))


def write_json(path: str | Path, content: Mapping[str, object]) -> None:
    """Write an indented JSON document, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def verify_writable(folder: Path) -> None:
    """Check that files can be written in a folder, or in its nearest parent, before hours of work for them."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"{folder} cannot be a folder: {existing} is a file. Move it away.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error}). Is {existing} a folder that is yours?") from error


def user_cache() -> Path:
    """Return the folder `dferc` in $XDG_CACHE_HOME, or in ~/.cache."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dferc"
    except RuntimeError:  # a user of a container that has neither $HOME nor an entry in /etc/passwd
        raise InputError("no folder for finished work: this user has no home. Set XDG_CACHE_HOME.") from None


def digest(folder: Path) -> str:
    """Return 16 hex digits of the contents of the files of a scored run in its folder `evaluate`."""
    content = b"".join((folder / name).read_bytes() for name in ("predictions.csv", "protocol.json"))
    return hashlib.sha256(content).hexdigest()[:16]


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
