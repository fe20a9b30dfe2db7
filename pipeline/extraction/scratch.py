"""Scratch cache: finished work that survives a kill, where DVC does not see it.

One SQLite file in WAL mode, each record committed by itself (0.05 ms: a commit does not wait for the disk). A kill
loses no record, and several stages may use the file at once. Deleting it costs time, never correctness: a record is
found only by the extractor and the content that it was computed by.
"""

import contextlib
import hashlib
import io
import json
import sqlite3
import time
import zipfile
from pathlib import Path

import numpy as np

from dferc.core.console import print_note
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from pipeline.extraction.records import Record

DEFAULT_PATH = Path(".scratch/features.sqlite")

_BOUND_BYTES = 8 << 30  # above this, closing deletes the oldest records
_PATIENCE_S = 60.0  # longest wait for another process that locks the file

_TABLES = """
CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS media_files
    (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL, hash TEXT NOT NULL);
"""


class Scratch(contextlib.AbstractContextManager):
    """Records by key, and content hashes of media files, in a file that is pruned to its bound as it is closed."""

    def __init__(self, path: str | Path = DEFAULT_PATH, bound_bytes: int = _BOUND_BYTES):
        self.path, self.bound_bytes = Path(path), bound_bytes
        self._open()

    def __exit__(self, *_) -> None:
        self._guarded(self._prune)
        self._database.close()

    def get(self, key: str) -> Record | None:
        """Return the record of a key; None if there is none, or a damaged one."""
        rows = self._execute("SELECT content FROM records WHERE key = ?", (key,))
        try:
            with np.load(io.BytesIO(rows[0][0]), allow_pickle=False) as members:
                if any(info.compress_type != zipfile.ZIP_STORED for info in members.zip.infolist()):
                    return None  # not written by `put`; what is stored cannot fill more than it has
                arrays = {name.removeprefix("array_"): members[name] for name in members if name != "problem"}
                return Record(arrays, str(members["problem"]))
        except (IndexError, zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError):
            return None

    def put(self, key: str, record: Record) -> None:
        """Keep a record, which from now on survives a kill of this process."""
        content = io.BytesIO()  # NPZ: plain .npy members, each with a checksum
        arrays = {f"array_{name}": array for name, array in record.arrays.items()}
        np.savez(content, problem=np.array(record.problem), **arrays)
        self._execute("INSERT OR REPLACE INTO records (key, content) VALUES (?, ?)", (key, content.getvalue()))

    def media_hash(self, path: str | Path) -> str:
        """Return the SHA-256 of a file's content, cached as long as its size, times and inode stay."""
        path = Path(path).resolve()
        status = path.stat()
        name = str(path).encode("utf-8", "backslashreplace").decode()  # SQLite holds no name that is not UTF-8
        numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        file = (name, *(number & (1 << 63) - 1 for number in numbers))  # SQLite's: inodes have 64 bits without a sign
        same = "path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ?"
        if rows := self._execute(f"SELECT hash FROM media_files WHERE {same}", file):
            return rows[0][0]
        digest = file_hash(path)
        self._execute("INSERT OR REPLACE INTO media_files VALUES (?, ?, ?, ?, ?, ?)", (*file, digest))
        return digest

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(f"{self.path}: the scratch cache cannot be opened ({error})") from None
        self._guarded(self._prepare)

    def _prepare(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:  # SQLite itself does not wait for another process that switches to WAL
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)
        self._database.execute("PRAGMA synchronous = NORMAL")  # no commit is lost by a kill, only by a power cut
        self._database.executescript(_TABLES)

    def _prune(self) -> None:
        """Delete the older half of the records if the file is above its bound (SQLite reuses the space)."""
        execute, sizes = self._database.execute, ("page_count", "freelist_count", "page_size")
        pages, free, page_bytes = (execute(f"PRAGMA {name}").fetchone()[0] for name in sizes)
        if (pages - free) * page_bytes > self.bound_bytes:
            execute("DELETE FROM records WHERE number <= (SELECT (MIN(number) + MAX(number)) / 2 FROM records)")

    def _execute(self, query: str, values: tuple) -> list[tuple]:
        return self._guarded(lambda: self._database.execute(query, values).fetchall()) or []

    def _guarded(self, action):
        """Run an action on the file; if the file is damaged, move it aside and run the action on a new one."""
        try:
            return action()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                full = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
                remedy = "Is the disk full?" if full else "May you write there, and does nothing else use it?"
                raise InputError(f"{self.path}: the scratch cache failed ({error}). {remedy}") from error
            self._database.close()
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):  # they belong to the damaged file
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            print_note(
                f"the scratch cache {self.path} is damaged ({error}); moved to {aside.name}, and a new one started. "
                "Finished work that was in it is computed again."
            )
            self._open()
            return action()


def key_of(*parts: object) -> str:
    """Return a hash of what determines a result: parts in JSON's types, with dictionaries in any order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
