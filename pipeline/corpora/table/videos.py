"""One video per dialogue with a subtitle file beside it -> rows, one per cue."""

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from pipeline.corpora._rows import Row, nearest, read_records, refuse
from pipeline.corpora.table.subtitles import Cue, read_cues
from pipeline.settings import TableOptions

SUBTITLES = (".srt", ".vtt")
MEDIA = (
    ".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts",
    ".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac",
)  # fmt: skip
"""Suffixes that a subtitle file's video may have."""


def read_videos(raw: Path, options: TableOptions) -> tuple[list[Row], list[Problem]]:
    """The cues of every subtitle file below a folder, in order of time; labels from the table beside, if there is one.

    A dialogue is named after its subtitle file, an utterance after dialogue and cue: `talks/monday_12`.

    Raises:
        InputError: no subtitles, a video with two of them, or a faulty file.
    """
    subtitles, media = _list(raw, SUBTITLES), _list(raw, MEDIA)
    if not subtitles:
        found = f"{len(media)} media file(s)" if media else "nothing of use"
        raise InputError(
            f"{raw}: no .srt or .vtt file below it, found {found}. Put one beside each video: a.mp4, a.srt."
        )
    videos = _pair(raw, subtitles, media)
    rows, problems = [], []
    for path in subtitles:
        name = path.relative_to(raw).as_posix()
        cues, found = read_cues(path, name, options.speaker_prefix)
        problems += found
        if path not in videos:
            problems.append(Problem(where=name, file=name, problem="no video beside it", consequence="text only"))
        rows += _rows(raw, path, videos.get(path), sorted(cues, key=lambda cue: (cue.start_s, cue.number)))
    unused = sorted(path.relative_to(raw).as_posix() for path in set(media) - set(videos.values()))
    if unused:
        lacking = f"no subtitles: {len(unused)} ({', '.join(unused[:20])})"
        problems.append(Problem(where="videos", file=unused[0], problem=lacking, consequence="not used"))
    if not rows:
        raise InputError(f"{raw}: no cue of {len(subtitles)} subtitle file(s) has a text, first {subtitles[0].name}.")
    if options.labels != "none":
        rows, found = _with_labels(raw / options.labels, rows)
        problems += found
    return rows, problems


def _list(raw: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of these suffixes below `raw`, sorted; macOS's `._*` are not files of anyone's."""
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(raw)
        for name in names
        if Path(name).suffix.lower() in suffixes and not name.startswith("._")
    ]
    return sorted(found)


def _pair(raw: Path, subtitles: list[Path], media: list[Path]) -> dict[Path, Path]:
    """The video of each subtitle file: the same name (`a.srt`), or with a language after it (`a.en.srt`)."""
    named = defaultdict(list)
    for path in media:
        named[path.with_suffix("")].append(path)
    pairs, used = {}, {}
    for path in subtitles:
        stem = path.with_suffix("")
        candidates = named.get(stem) or named.get(stem.with_suffix(""), [])
        if len(candidates) > 1:
            listed = ", ".join(each.name for each in candidates)
            raise InputError(f"{path}: {listed} have its name. Leave the one that the times are of.")
        for video in candidates:
            if video in used:
                both = f"{used[video].name} and {path.name} in {path.parent}"
                raise InputError(f"{both} both belong to {video.name}. Leave one.")
            pairs[path], used[video] = video, path
    return pairs


def _rows(raw: Path, path: Path, video: Path | None, cues: list[Cue]) -> list[Row]:
    name = path.relative_to(raw)
    dialogue = name.with_suffix("").as_posix()
    return [
        Row(
            where=f"{name.as_posix()}, line {cue.line}",
            dialogue_id=dialogue,
            utterance_id=f"{dialogue}_{cue.number}",
            speaker=cue.speaker,
            text=cue.text,
            media=video.relative_to(raw).as_posix() if video else "",
            start_s=cue.start_s,
            end_s=cue.end_s,
        )
        for cue in cues
    ]


def _with_labels(path: Path, rows: list[Row]) -> tuple[list[Row], list[Problem]]:
    """Rows with what a table says of them."""
    columns = ("utterance_id", "emotion", "split", "speaker")
    records, problems = read_records(path, columns, columns[:2])
    ids, said, faults = {row.utterance_id for row in rows}, {}, []
    for line, record in records:
        name = record.pop("utterance_id")
        if name not in ids:
            faults.append(f"line {line}: no cue {name!r}; expected <subtitle file>_<cue's number>.{nearest(name, ids)}")
        elif name in said:
            faults.append(f"line {line}: {name!r} is there twice")
        said[name] = {column: value for column, value in record.items() if value}
    refuse(path, faults)
    return [replace(row, **said.get(row.utterance_id, {})) for row in rows], problems
