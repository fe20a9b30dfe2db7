"""Paths of MELD's clips in any known layout, found by pattern.

A clip is `dia{D}_utt{U}.mp4` in a folder that names the split, at whatever depth, or converted, with another suffix.
"""

import re
from collections import defaultdict
from pathlib import Path, PurePath

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from pipeline.corpora._files import first_clip
from pipeline.corpora._published_csv import NAMES, Key, grouped_problem
from pipeline.media.files import MEDIA_SUFFIXES

Clips = dict[Key, PurePath]  # the clips of one split, relative to the raw folder

_CLIP, _SUFFIX = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)", re.IGNORECASE), ".mp4"
_FOLDERS = {
    **dict.fromkeys(("train_splits", "train", "training"), "train"),
    **dict.fromkeys(("dev_splits_complete", "dev_splits", "dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("output_repeated_splits_test", "test_splits", "test"), "test"),
}


def find_clips(raw: Path, files: list[Path]) -> tuple[dict[str, Clips], list[Problem]]:
    """Return the clip of each utterance, per split; the corrected `final_videos_test*` copies are preferred."""
    candidates, unplaced, unnamed = defaultdict(list), [], []
    for path in files:
        match, place = _CLIP.fullmatch(path.stem), path.relative_to(raw)
        if not match:
            unnamed += [place] if path.suffix.lower() == _SUFFIX else []
            continue
        folders = [_FOLDERS[part.lower()] for part in place.parent.parts if part.lower() in _FOLDERS]
        if folders or match[1]:
            split = folders[-1] if folders else "test"  # the innermost folder counts
            candidates[split, (int(match[2]), int(match[3]))].append((not match[1], len(place.parts), path))
        else:
            unplaced += [place] if path.suffix.lower() in MEDIA_SUFFIXES else []
    clips = {split: {} for split in NAMES}
    repeated = []
    for (split, key), copies in candidates.items():
        best = first_clip([path for *_, path in sorted(copies)], _SUFFIX)
        if best is None:
            continue  # features of a clip, perhaps
        clips[split][key] = best.relative_to(raw)
        others = [path for *_, path in copies if path.suffix.lower() == best.suffix.lower() and path != best]
        repeated += [path.relative_to(raw) for path in others if path.name.lower() == best.name.lower()]
    if unplaced and not any(clips.values()):
        raise InputError(
            f"{raw}: {len(unplaced)} clips, such as {unplaced[0]}, lie in no folder that names a split. "
            f"Name their folders train, dev and test (or as MELD does: {', '.join(_FOLDERS)})."
        )
    problems = grouped_problem("clips", unnamed, "name not MELD's", "not dia{D}_utt{U}.mp4; ignored")
    problems += grouped_problem("clips", unplaced, "split unknown", "in no folder that names a split; ignored")
    problems += grouped_problem("clips", repeated, "clip found twice", "the copy nearest to the top is used")
    return clips, problems


def clip_path(split: str, key: Key, clips: dict[str, Clips]) -> str:
    """Return the path of a clip, or its expected path; an empty string in a corpus without any clips."""
    if not any(clips.values()):
        return ""
    path = clips[split].get(key)
    if path is None:
        sibling = next(iter(clips[split].values()), PurePath(split, "clip"))
        path = sibling.with_name(f"dia{key[0]}_utt{key[1]}{sibling.suffix or _SUFFIX}")
    return path.as_posix()
