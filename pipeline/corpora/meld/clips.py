"""Where MELD's clips lie: any known layout, found by pattern.

`dia{D}_utt{U}.mp4` in a folder that names the split, at whatever depth; the corrected `final_videos_test*` copies win.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePath

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from pipeline.corpora._published import NAMES, Key, lump

Clips = dict[Key, PurePath]
"""The clips of one split, relative to the raw folder."""

_CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)\.mp4", re.IGNORECASE)
_FOLDERS = {
    **dict.fromkeys(("train_splits", "train", "training"), "train"),
    **dict.fromkeys(("dev_splits_complete", "dev_splits", "dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("output_repeated_splits_test", "test_splits", "test"), "test"),
}


def find_clips(raw: Path, files: list[Path]) -> tuple[dict[str, Clips], list[Problem]]:
    """The clip of each utterance, per split and relative to `raw`; the corrected `final_videos_test*` copies win.

    Raises:
        InputError: there are clips, and no split can be told for any.
    """
    candidates, unplaced, unnamed = defaultdict(list), [], []
    for path in (path.relative_to(raw) for path in files if path.suffix.lower() == ".mp4"):
        match = _CLIP.fullmatch(path.name)
        if not match:
            unnamed.append(path)
            continue
        split = _split_of(path, final=bool(match[1]))
        if split is None:
            unplaced.append(path)
        else:
            candidates[split, (int(match[2]), int(match[3]))].append((not match[1], len(path.parts), path))
    if unplaced and not candidates:
        raise InputError(
            f"{raw}: {len(unplaced)} clips, such as {unplaced[0]}, lie in no folder that names a split. "
            f"Name their folders train, dev and test (or as MELD does: {', '.join(_FOLDERS)})."
        )
    clips = {name: {} for name in NAMES}
    repeated = []
    for (split, key), found in candidates.items():
        found.sort()
        clips[split][key] = found[0][-1]
        repeated += [path for plain, _, path in found[1:] if plain == found[0][0]]
    problems = lump("clips", unnamed, "name not MELD's", "not dia{D}_utt{U}.mp4; ignored")
    problems += lump("clips", unplaced, "no split told", "in no folder that names a split; ignored")
    return clips, problems + lump("clips", repeated, "clip found twice", "the copy nearest to the top is used")


def _split_of(path: PurePath, final: bool) -> str | None:
    """The split that the innermost folder with a known name stands for."""
    names = [_FOLDERS[part.lower()] for part in path.parent.parts if part.lower() in _FOLDERS]
    return names[-1] if names else ("test" if final else None)


def media(name: str, key: Key, clips: dict[str, Clips]) -> str:
    """Path of a clip, or where it should be; empty in a corpus without any clips."""
    if not any(clips.values()):
        return ""
    found = clips[name].get(key)
    if found is None:
        beside = next(iter(clips[name].values()), PurePath(name, "clip"))
        found = beside.with_name(f"dia{key[0]}_utt{key[1]}.mp4")
    return found.as_posix()


def unused_clips(unnamed: Mapping[str, Clips]) -> list[Problem]:
    """Clips that no row of the CSVs names, as one problem per split."""
    return [
        problem
        for name, clips in unnamed.items()
        for problem in lump(name, list(clips.values()), "no CSV row", "the clip is ignored")
    ]
