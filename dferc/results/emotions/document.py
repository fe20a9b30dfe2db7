"""Emotions of one video, recording or transcript: one JSON document, from which every other format is written.

>>> emotions = Emotions.read("talk.emotions/emotions.json")
>>> [utterance.emotion for utterance in emotions.utterances if utterance.confidence > 0.8]
>>> emotions.write("results", media="talk.mp4", formats=("csv", "html"))
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Self

from dferc.core.console import print_note
from dferc.core.errors import InputError, did_you_mean
from dferc.core.files import regular_file, write_text
from dferc.core.records import check_record, parse_json
from dferc.core.tables import write_csv
from dferc.results.emotions.schema import SCHEMA, EmotionsRecord
from dferc.results.emotions.subtitles import as_srt, as_vtt
from dferc.results.emotions.tiers import to_eaf, to_textgrid

FILES = {name: f"emotions.{name}" for name in ("json", "csv", "srt", "vtt", "eaf")}
FILES |= {"textgrid": "emotions.TextGrid", "html": "index.html"}
"""The formats, and the names of their files."""
MOST_BYTES = 500_000_000  # of a document: an utterance has some 600, so 16 MB would be a day of talk
TIMED = ("srt", "vtt", "eaf", "textgrid")  # formats that hold nothing but what has a place in time


class Emotions(EmotionsRecord):
    """The emotions of one medium, as `dferc-video` writes them; `dferc.results.emotions.schema` has the fields."""

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read emotions.json.

        Raises:
            InputError: it is missing, damaged, of a newer schema, or inconsistent.
        """
        with open(regular_file(path), "rb") as file:
            content = file.read(MOST_BYTES + 1)
        _refuse_newer(content, path)
        return cls.model_validate(check_record(content, cls, str(path), "Write it again: `dferc-video`.", MOST_BYTES))

    def to_json(self, path: str | Path) -> None:
        """Write the document itself, which `read` reads."""
        text = json.dumps(self.model_dump(by_alias=True), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    def to_csv(self, path: str | Path) -> None:
        """Write a row per utterance; `synthetic` repeats the warning on the training data, if there is one."""
        classes, modalities = self.model.classes, self.model.modalities
        rows = [
            {
                **dict(each),
                "start_s": "" if each.start_s is None else f"{each.start_s:.3f}",
                "end_s": "" if each.end_s is None else f"{each.end_s:.3f}",
                "emotion": each.label,
                "most_probable": each.most_probable,
                "confidence": each.confidence,
                **{f"p_{name}": each.probabilities[name] for name in classes},
                **{f"contribution_{name}": each.contributions.get(name) for name in modalities},
                "absent": "; ".join(f"{name}: {why}" if why else name for name, why in each.absent.items()),
                "synthetic": " ".join(self.model.synthetic),
            }
            for each in self.utterances
        ]
        columns = ["id", "start_s", "end_s", "speaker", "text", "emotion", "most_probable", "confidence"]
        columns += [f"p_{name}" for name in classes] + ["disagreement"]
        columns += [f"contribution_{name}" for name in modalities]
        write_csv(Path(path), [*columns, "context_weight", "face_share", "absent", "synthetic"], rows)

    def to_srt(self, path: str | Path) -> None:
        """Write SubRip subtitles, the emotion before the text; utterances without times are left out."""
        write_text(path, as_srt(self))

    def to_vtt(self, path: str | Path) -> None:
        """Write WebVTT subtitles, the emotion before the text; utterances without times are left out."""
        write_text(path, as_vtt(self))

    def to_eaf(self, path: str | Path, media: str | Path | None = None) -> None:
        """Write an annotation file of ELAN: per speaker a tier of words and one of emotions."""
        to_eaf(self, Path(path), Path(media) if media else None)

    def to_textgrid(self, path: str | Path) -> None:
        """Write a TextGrid of Praat: per speaker a tier of words and one of emotions."""
        to_textgrid(self, Path(path))

    def to_html(self, path: str | Path, media: str | Path | None = None, embed: bool = False) -> None:
        """Write the page.

        Args:
            path: its file.
            media: the medium that it plays; None writes a page without a player.
            embed: whether the page contains the medium instead of referring to its place beside the page.

        Raises:
            InputError: the extra `report` is not installed, or the medium is too large to be embedded.
        """
        from dferc.results.emotions.page import as_page  # needs jinja2, which is an extra

        write_text(path, as_page(self, Path(path), Path(media) if media else None, embed))

    def write(
        self, folder: str | Path, media: str | Path | None = None, formats: Collection[str] = FILES, embed: bool = False
    ) -> list[Path]:
        """Write the result into a folder in some formats (`FILES` has them and their files); return the paths.

        Where no utterance has a time, the formats that hold times alone (`TIMED`) are left out with a note.

        Args:
            folder: made where it is missing.
            media: the medium, for the page and ELAN.
            formats: keys of `FILES`.
            embed: whether the page contains the medium.

        Raises:
            InputError: an unknown format, a library that is not installed, or a place that cannot be written.
        """
        for name in formats:
            if name not in FILES:
                raise InputError(f"format {name!r}: expected one of {', '.join(FILES)}.{did_you_mean(name, FILES)}")
        timeless = [name for name in formats if name in TIMED and self.utterances and not self.timed]
        if timeless:
            print_note(f"{self.media.name}: no utterance has a time, so {', '.join(timeless)} are not written")
        for name in timeless:  # those of an earlier result would pass for this one's
            (Path(folder) / FILES[name]).unlink(missing_ok=True)
        paths = {name: Path(folder) / FILES[name] for name in formats if name not in timeless}
        options = {"eaf": {"media": media}, "html": {"media": media, "embed": embed}}
        for name, path in paths.items():
            getattr(self, f"to_{name}")(path, **options.get(name, {}))
        return list(paths.values())


def _refuse_newer(content: bytes, path: str | Path) -> None:
    try:
        found = parse_json(content, MOST_BYTES).get("schema")
    except (ValueError, AttributeError):
        return  # `check_record` explains it
    if type(found) is int and found > SCHEMA:
        raise InputError(
            f"{path} is of schema {found}; this version of dferc reads {SCHEMA}. Install a newer version of dferc."
        )
