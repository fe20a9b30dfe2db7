"""Paths of MELD's clips in any known layout, found by pattern.

A clip is `dia{D}_utt{U}.mp4` in a folder that names the split, at whatever depth.
"""

import re
from collections import defaultdict
from pathlib import Path, PurePath

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from pipeline.corpora._published_csv import NAMES, Key, grouped_problem

Clips = dict[Key, PurePath]  # the clips of one split, relative to the raw folder

_CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)\.mp4", re.IGNORECASE)
_FOLDERS = {
    **dict.fromkeys(("train_splits", "train", "training"), "train"),
    **dict.fromkeys(("dev_splits_complete", "dev_splits", "dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("output_repeated_splits_test", "test_splits", "test"), "test"),
}


def find_clips(raw: Path, files: list[Path]) -> tuple[dict[str, Clips], list[Problem]]:
    """Return the clip of each utterance, per split; the corrected `final_videos_test*` copies are preferred."""
    candidates, unplaced, unnamed = defaultdict(list), [], []
    for path in (path.relative_to(raw) for path in files if path.suffix.lower() == ".mp4"):
        match = _CLIP.fullmatch(path.name)
        if not match:
            unnamed.append(path)
            continue
        folders = [_FOLDERS[part.lower()] for part in path.parent.parts if part.lower() in _FOLDERS]
        if folders or match[1]:
            split = folders[-1] if folders else "test"  # the innermost folder counts
            candidates[split, (int(match[2]), int(match[3]))].append((not match[1], len(path.parts), path))
        else:
            unplaced.append(path)
    if unplaced and not candidates:
        raise InputError(
            f"{raw}: {len(unplaced)} clips, such as {unplaced[0]}, lie in no folder that names a split. "
            f"Name their folders train, dev and test (or as MELD does: {', '.join(_FOLDERS)})."
        )
    clips = {split: {} for split in NAMES}
    repeated = []
    for (split, key), copies in candidates.items():
        best, *others = sorted(copies)
        clips[split][key] = best[-1]
        repeated += [path for plain, _, path in others if plain == best[0]]
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
        path = sibling.with_name(f"dia{key[0]}_utt{key[1]}.mp4")
    return path.as_posix()
