"""The page of one medium: player, timeline and transcript in one HTML file that loads nothing but the medium."""

import base64
import mimetypes
import os
from pathlib import Path
from urllib.parse import quote

from dferc.core.errors import InputError
from dferc.core.files import regular_file
from dferc.results.emotions.schema import OPENSMILE_LICENCE, EmotionsRecord
from dferc.results.page import render

PAGE = Path(__file__).parent / "page"
MOST_EMBEDDED = 200_000_000  # bytes of a medium; browsers refuse texts of half a gigabyte


def as_page(emotions: EmotionsRecord, path: Path, media: Path | None, embed: bool = False) -> str:
    """Return the page.

    Args:
        emotions: the document, which the page contains.
        path: the page's file: the medium is named by its place relative to it.
        media: the medium; None returns a page without a player.
        embed: whether the page contains the medium.

    Raises:
        InputError: a medium to be embedded is missing, or larger than `MOST_EMBEDDED`.
    """
    data = {
        "document": emotions.model_dump(by_alias=True),
        "timed": bool(emotions.timed),
        "synthetic": " ".join(f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in emotions.model.synthetic),
        "notices": [*emotions.notices, *(text for text in emotions.model.licences if text == OPENSMILE_LICENCE)],
        "player": None,
    }
    if media is not None and (emotions.media.has_picture or emotions.media.has_sound):
        data["player"] = {
            "tag": "video" if emotions.media.has_picture else "audio",
            "url": None if embed else relative_url(media, path.parent),
            "content": _content(media) if embed else None,
            "kind": mimetypes.MimeTypes().guess_type(media.name)[0] or "",
        }
    return render(PAGE, data)


def relative_url(file: Path, folder: Path) -> str:
    """Return the place of a file, seen from a folder, as a relative URL; any file name is possible."""
    # A colon is quoted as well: `a:b.mp4` would be an address of the scheme `a`.
    return quote(os.fsencode(os.path.relpath(file, folder).replace(os.sep, "/")), safe="/")


def _content(media: Path) -> str:
    if (size := regular_file(media).stat().st_size) > MOST_EMBEDDED:
        raise InputError(
            f"{media} has {size / 1e6:,.0f} MB; a page can contain {MOST_EMBEDDED / 1e6:,.0f} MB at most. Leave out "
            "--embed: the page then refers to the file beside it."
        )
    return base64.b64encode(media.read_bytes()).decode()
