"""Uploads: a body is streamed to a folder, counted while it is read, and refused before that where it says its length.

The names that people give their files are kept for display. On the disk an upload has a random name, with the ending of
the given one if that is plain; a result is free of it (`pipeline.serve.worker.renamed`).
"""

import asyncio
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dferc.core.console import printable
from dferc.core.files import DISK_FULL

FILES = ("media", "transcript")  # fields of a form that are files
RESERVE_BYTES = 500_000_000  # of the disk that an upload leaves free, for results and for others
SILENCE_S = 60.0  # without a byte, after which an upload counts as broken off

_MOST_PARTS = 20
_MOST_FIELD_BYTES = 1000
_CHECKED_BYTES = 1 << 26  # between two looks at the free disk


@dataclass
class Upload:
    """What arrived: files below a folder, their names as given, and the other fields."""

    files: dict[str, Path] = field(default_factory=dict)  # by field
    names: dict[str, str] = field(default_factory=dict)  # by field, for display only
    fields: dict[str, str] = field(default_factory=dict)


async def receive(request: Request, folder: Path, limit: int) -> Upload:
    """Stream the body of a request into a folder.

    Args:
        request: multipart/form-data with `media`, perhaps `transcript` and short fields; any other type is the medium
            itself, with name and fields in the query.
        folder: an empty folder.
        limit: most bytes of a body.

    Raises:
        HTTPException: 400 = no form or an empty file, 408 = nothing came for a minute, 413 = over the limit, 507 = the
            disk is too full.
        ClientDisconnect: the upload was broken off.
    """
    declared = request.headers.get("content-length", "")
    _verify_size(int(declared) if declared.isdecimal() else 0, limit, folder)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    form = _Form(folder)
    try:
        if kind == b"multipart/form-data":
            write = form.parser(options.get(b"boundary", b""))
        else:
            form.begin("media", request.query_params.get("name", ""))
            form.upload.fields = dict(request.query_params)
            write = form.write
        await _stream(request, write, limit, folder)
        if kind == b"multipart/form-data" and not form.complete:
            raise HTTPException(400, "the form is incomplete: its last boundary is missing")
    except FormParserError as error:
        raise HTTPException(400, f"the form cannot be read: {error}") from None
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise HTTPException(507, "the disk of this server is full; nothing was kept") from None
    finally:
        form.end()
    if "media" not in form.upload.files:
        raise HTTPException(400, "no file: expected a form with the field `media`, or a body that is the medium")
    for name, path in form.upload.files.items():
        if not path.stat().st_size:
            raise HTTPException(400, f"{form.upload.names[name]} is empty: 0 bytes arrived. Choose the file again")
    return form.upload


def shown_name(name: str, default: str) -> str:
    """Return the last part of a file name, printable and of bounded length: for display, never as a path."""
    last = printable(re.split(r"[/\\]", name)[-1].replace("\n", " ").replace("\t", " ")).strip()
    return default if last.strip(".") == "" else last if len(last) <= 200 else f"{last[:150]}…{last[-40:]}"


def ending(name: str) -> str:
    """Return the ending of a name, such as `.mp4`, if it is a plain one; formats are recognised by content."""
    found = re.search(r"\.[a-z0-9]{1,8}$", name.lower())
    return found[0] if found else ""


async def _stream(request: Request, write: Callable[[bytes], object], limit: int, folder: Path) -> None:
    """Hand a body to `write`, chunk by chunk, in a thread: the disk may be slow."""
    received = 0
    chunks: AsyncIterator[bytes] = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), SILENCE_S)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"nothing arrived for {SILENCE_S:.0f} s; nothing was kept") from None
        if received // _CHECKED_BYTES < (received + len(chunk)) // _CHECKED_BYTES:
            _verify_size(len(chunk), limit, folder)
        received += len(chunk)
        if received > limit:
            _refuse_size("more than that", limit)
        await asyncio.to_thread(write, chunk)


def _verify_size(length: int, limit: int, folder: Path) -> None:
    if length > limit:
        _refuse_size(f"{length / 1e6:,.1f} MB", limit)
    if length > (free := shutil.disk_usage(folder).free - RESERVE_BYTES):
        left = f"{max(0, free) / 1e6:,.0f} MB are left for uploads on the disk of this server"
        raise HTTPException(507, f"{left}; choose another disk with the environment variable TMPDIR")


def _refuse_size(found: str, limit: int) -> None:
    raise HTTPException(
        413, f"the upload has {found}; at most {limit / 1e6:,g} MB are accepted (`dferc-serve --limit-mb` sets it)"
    )


class _Form:
    """Parts of a form, written as they arrive."""

    def __init__(self, folder: Path):
        self.upload, self.complete = Upload(), False
        self._folder, self._file, self._parts = folder, None, 0
        self._field, self._value = "", b""
        self._header, self._headers = [b"", b""], {}

    def parser(self, boundary: bytes) -> Callable[[bytes], object]:
        """Return the function that takes the body of a form."""
        if not boundary:
            raise HTTPException(400, "the form has no boundary")
        return MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_part,
                "on_part_data": lambda data, start, end: self.write(data[start:end]),
                "on_part_end": self.end,
                "on_end": self._finish,
            },
        ).write

    def begin(self, name: str, given: str) -> None:
        """Open the file of a field."""
        self.upload.names[name] = shown_name(given, name)
        path = self._folder / f"{secrets.token_hex(8)}{ending(given)}"
        self.upload.files[name] = path
        self._file: BinaryIO | None = open(path, "xb")

    def write(self, data: bytes) -> None:
        """Write bytes of the present part."""
        if self._file is not None:
            self._file.write(data)
        elif self._field in FILES and data:  # nothing says of which format it is
            raise HTTPException(400, f"the field {self._field} has no file name: send it as a file, such as talk.srt")
        elif len(self._value) + len(data) > _MOST_FIELD_BYTES:
            raise HTTPException(400, f"the field {self._field[:50]!r} has more than {_MOST_FIELD_BYTES:,} bytes")
        else:
            self._value += data

    def end(self) -> None:
        """Close the present part."""
        if self._file is not None:
            self._file.close()
        elif self._field:
            self.upload.fields[self._field] = self._value.decode("utf-8", "replace")
        self._file, self._field, self._value = None, "", b""

    def _add_header(self, which: int, data: bytes) -> None:
        self._header[which] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin_part(self) -> None:
        self._parts += 1
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._headers = {}
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._parts > _MOST_PARTS or name in self.upload.files:
            raise HTTPException(400, f"too many parts: expected {' and '.join(FILES)}, each once, and short fields")
        given = options.get(b"filename", b"").decode("utf-8", "replace")
        for escape, character in (("%22", '"'), ("%0D", " "), ("%0A", " ")):  # as browsers write these characters
            given = given.replace(escape, character)
        if name in FILES and (given or name == "media"):  # a browser sends an empty field where no file was chosen
            self.begin(name, given)
        elif given:  # it would be left out
            raise HTTPException(400, f"no file is expected in the field {name[:50]!r}: name it `media` or `transcript`")
        else:
            self._field = name

    def _finish(self) -> None:
        self.complete = True
