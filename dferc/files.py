"""Files that are whole or not there."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from dferc.console import InputError


def write_atomically(path: str | Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    A kill or a full disk at any moment leaves the old file intact or the new one whole.

    Args:
        path: the file.
        write: given the temporary path; its OSError is reported as an InputError.
        durable: False does not wait for the disk: safe against kills as well, but not against a power cut.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)  # mkstemp made it private; features are for sharing
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "Is the disk full?" if full else "Does the folder exist, and may you write there?"
        raise InputError(f"{path} could not be written ({error}); nothing was changed. {mend}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
