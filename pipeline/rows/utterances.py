"""Rows of stage 1: data/<corpus>/utterances.csv."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from dferc.core.errors import InputError
from dferc.core.files import regular_file


class Region(NamedTuple):
    """Part of the picture; its edges as shares of the width, from the left, and of the height, from the top."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def __str__(self) -> str:
        return " ".join(map(repr, self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One row of utterances.csv; dialogues contiguous, utterances in order; times in seconds."""

    utterance_id: str  # unique in the corpus
    dialogue_id: str  # unique in the corpus, splits included
    position: int  # place in the dialogue as the corpus counts it (gaps stay)
    speaker: str  # name, or empty
    emotion: str  # class name, or empty = unlabelled
    split: str  # train, validation or test
    text: str  # transcript
    media: str = ""  # path of the clip relative to the raw folder, or empty; of its sound too unless `sound` is set
    start_s: float = 0.0  # begin of the utterance in the clip
    end_s: float = 0.0  # its end, cut to the clip and capped at `max_utterance_s`; 0 where there is no usable media
    region: Region = Region()  # the part of the picture that shows the speaker
    sound: str = ""  # path of the sound where it is another file than `media`, or empty
    sound_start_s: float = 0.0  # begin of the utterance in `sound`
    sound_end_s: float = 0.0  # its end, cut and capped too; 0 where there is no usable sound of its own
    has_audio: bool = False  # readable sound exists (measured by prepare)
    has_video: bool = False  # a readable picture exists (measured by prepare)

    @property
    def heard(self) -> tuple[str, float, float]:
        """Place of its sound: file, begin and end in seconds."""
        if self.sound:
            return self.sound, self.sound_start_s, self.sound_end_s
        return self.media, self.start_s, self.end_s

    @property
    def seen(self) -> tuple[str, float, float, Region]:
        """Place of its picture: file, begin and end in seconds, part of the frame."""
        return self.media, self.start_s, self.end_s, self.region


def read_utterances_csv(path: str | Path) -> list[Utterance]:
    """Read data/<corpus>/utterances.csv."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} is missing. Make it with `python -m pipeline.prepare --corpus {path.parent.name}`.")
    expected = [field.name for field in fields(Utterance)]
    rows = []
    with open(regular_file(path), encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if reader.fieldnames != expected:
                raise InputError(f"{path}: expected the columns {', '.join(expected)}; found {reader.fieldnames}.")
            for row in reader:
                flags = {name: {"True": True, "False": False}.get(row[name]) for name in ("has_audio", "has_video")}
                if None in flags.values():
                    values = f"{row['has_audio']!r}, {row['has_video']!r}"
                    raise ValueError(f"has_audio and has_video are True or False, found {values}")
                times = {name: float(row[name]) for name in ("start_s", "end_s", "sound_start_s", "sound_end_s")}
                region = Region(*map(float, row["region"].split(" ", 3)))
                rows.append(Utterance(**{**row, **times, **flags, "position": int(row["position"]), "region": region}))
        except InputError:
            raise
        except (TypeError, ValueError, csv.Error) as error:
            raise InputError(f"{path}, line {reader.reader.line_num}: {error}") from None
    if not rows:
        raise InputError(f"{path} has no utterances.")
    return rows
