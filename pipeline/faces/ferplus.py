"""FER+: the 48x48 faces of fer2013.csv with the ten votes per face of fer2013new.csv.

The rules are FER+'s own (Barsoum et al. 2016, arXiv:1608.01041, and the code published with it): an option with a
single vote is noise and loses it; an image without a name is not in the set; an image whose winner is `unknown` or `NF`
(not a face) is left out; the target is the distribution of the remaining votes over the eight emotions. A tie goes to
the column that comes first, so an emotion wins against `unknown`. For scoring, as published, an image counts only if
its winner has more than half of the remaining votes (`majority`). Not followed: that code also cuts the tail of a
distribution beyond three quarters of the votes, which its `cross-entropy` description does not mention.

N faces, S side of a face in pixels, 8 emotions.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import regular_file
from pipeline.faces.densenet import CLASSES
from pipeline.faces.scaling import scale_face

PIXELS_FILE, VOTES_FILE = "fer2013.csv", "fer2013new.csv"
FILES = (PIXELS_FILE, VOTES_FILE)

USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""Our splits, and FER+'s names of them."""

NO_MAJORITY = -1

_OPTIONS = (*CLASSES, "unknown", "NF")
_SIDE = 48
_WHERE_FROM = (
    f"Put {PIXELS_FILE} (Kaggle, FER2013 challenge: emotion,pixels,Usage) there, "
    f"and {VOTES_FILE} (github.com/microsoft/FERPlus)."
)


@dataclass(frozen=True, kw_only=True)
class LabelledFaces:
    """Faces of one split."""

    images: np.ndarray  # [N, S, S] uint8, grey
    targets: np.ndarray  # [N, 8] float32, share of the votes; rows sum to 1
    majority: np.ndarray  # [N] int64, the emotion with more than half of the votes, or `NO_MAJORITY`

    def __len__(self) -> int:
        return len(self.images)


def missing_files(folder: str | Path) -> list[str]:
    """Return the names of the FER+ files that are not in a folder."""
    return [name for name in FILES if not (Path(folder) / name).exists()]


def read_ferplus(folder: str | Path, image_size: int) -> dict[str, LabelledFaces]:
    """Read both files of a folder, join them by row, and return the faces by split, scaled to [S, S]."""
    folder = Path(folder)
    pixels_csv = folder / PIXELS_FILE
    usages, names, votes = read_votes(folder / VOTES_FILE)
    usable = np.array([bool(name) for name in names]) & wins_as_emotion(votes)
    images = np.zeros((len(votes), image_size, image_size), np.uint8)
    rows = 0
    for line, row in _rows(pixels_csv, ("pixels", "Usage")):
        if rows < len(usages) and row["Usage"] != usages[rows]:
            raise InputError(
                f"{pixels_csv}, line {line}: Usage {row['Usage']!r}, but {str(usages[rows])!r} in the same "
                f"row of {VOTES_FILE}; the two files belong together row by row. {_WHERE_FROM}"
            )
        if rows < len(usages) and usable[rows]:
            try:
                levels = bytes(map(int, row["pixels"].split()))
            except ValueError as error:
                raise InputError(
                    f"{pixels_csv}, line {line}: pixels are grey levels 0 to 255 between spaces ({error})."
                ) from None
            if len(levels) != _SIDE * _SIDE:
                size = f"{_SIDE}x{_SIDE} = {_SIDE * _SIDE}"
                raise InputError(f"{pixels_csv}, line {line}: {len(levels)} pixels, expected {size}.")
            images[rows] = scale_face(np.frombuffer(levels, np.uint8).reshape(_SIDE, _SIDE), image_size)
        rows += 1
    if rows != len(usages):
        raise InputError(
            f"{folder}: {PIXELS_FILE} has {rows} rows, {VOTES_FILE} {len(usages)}; the two belong together row by row. "
            f"{_WHERE_FROM}"
        )
    splits = {}
    for split, usage in USAGES.items():
        chosen = usable & (usages == usage)
        if not chosen.any():
            raise InputError(f"{folder / VOTES_FILE}: no usable face of Usage {usage} (our {split} split).")
        targets, winners = distribution(votes[chosen]), majority(votes[chosen])
        splits[split] = LabelledFaces(images=images[chosen], targets=targets, majority=winners)
    return splits


def read_votes(path: str | Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return usage, image name (blank = FER+ removed the image) and votes [N, 10] of each row of fer2013new.csv."""
    usages, names, votes = [], [], []
    for line, row in _rows(Path(path), ("Usage", "Image name", *_OPTIONS)):
        if row["Usage"] not in USAGES.values():
            raise InputError(f"{path}, line {line}: Usage {row['Usage']!r}, expected {', '.join(USAGES.values())}.")
        try:
            counts = [int(row[option]) for option in _OPTIONS]
        except (TypeError, ValueError):
            counts = [-1]
        if min(counts) < 0:
            raise InputError(f"{path}, line {line}: votes {[row[option] for option in _OPTIONS]}, expected ten counts.")
        usages.append(row["Usage"])
        names.append(row["Image name"].strip())
        votes.append(counts)
    if not votes:
        raise InputError(f"{path} has no rows. {_WHERE_FROM}")
    return np.array(usages), names, np.array(votes)


def without_noise(votes: np.ndarray) -> np.ndarray:
    """Return votes [N, 10] without single ones."""
    return np.where(votes > 1, votes, 0)


def wins_as_emotion(votes: np.ndarray) -> np.ndarray:
    """Return which rows of votes [N, 10] are won by an emotion, bool [N]; rows without votes are not."""
    kept = without_noise(votes)
    return (kept.argmax(axis=1) < len(CLASSES)) & kept.any(axis=1)


def distribution(votes: np.ndarray) -> np.ndarray:
    """Return targets [N, 8] float32 of votes [N, 10] that an emotion wins."""
    emotions = without_noise(votes)[:, : len(CLASSES)].astype(np.float64)
    return (emotions / emotions.sum(axis=1, keepdims=True)).astype(np.float32)


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the emotion [N] with more than half of the remaining votes [N, 10], or `NO_MAJORITY`."""
    kept = without_noise(votes)
    winner = kept.argmax(axis=1)
    clear = (2 * kept.max(axis=1) > kept.sum(axis=1)) & (winner < len(CLASSES))
    return np.where(clear, winner, NO_MAJORITY)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV with their line numbers."""
    if not path.exists():
        raise InputError(f"{path} is missing. {_WHERE_FROM}")
    reader = None
    try:
        with open(regular_file(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise InputError(f"{path}: no column {', '.join(missing)}; it has {reader.fieldnames}. {_WHERE_FROM}")
            for row in reader:
                if None in row.values():
                    raise InputError(f"{path}, line {reader.line_num}: fewer values than columns (truncated file?).")
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        line = f", line {reader.line_num + 1}" if reader else ""
        raise InputError(f"{path}{line}: expected a CSV of UTF-8 text ({error}). {_WHERE_FROM}") from None
