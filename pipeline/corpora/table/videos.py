"""One video per dialogue with a subtitle file beside it -> rows, one per cue."""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from dferc.core.errors import LISTED, InputError, Problem, did_you_mean, listed
from dferc.store.cells import normalise
from pipeline.corpora import refuse
from pipeline.corpora._files import files_below, is_media, media_among, unused_files
from pipeline.corpora._own_tables import TableRow, read_text_rows
from pipeline.corpora.table.subtitles import read_cues
from pipeline.settings import TableOptions

SUBTITLES = (".srt", ".vtt")
OTHER_TRANSCRIPTS = (
    *(".ass", ".ssa", ".sbv", ".sub", ".ttml", ".dfxp", ".itt", ".lrc", ".smi", ".scc", ".stl", ".textgrid", ".eaf"),
    *(".cha", ".trs", ".docx", ".doc", ".odt", ".rtf", ".json", ".xml", ".xlsx", ".srv1", ".srv2", ".srv3", ".json3"),
)

_MARK = re.compile(r"\.(?!\d)[^.]+\Z")
"""What a name may have behind that of the video, such as `.pt-BR`: no number, which is another recording."""
_MARKS = 2  # such as `.en.sdh`


def read_videos(raw: Path, options: TableOptions) -> tuple[list[TableRow], list[Problem]]:
    """Read the cues of every subtitle file below a folder, in order of time, and the table of labels, if there is one.

    A dialogue is named after its subtitle file, an utterance after dialogue and cue: `talks/monday_12`. Hidden files
    are left out; all other files that are not used are listed.
    """
    files = [path for path in files_below(raw) if path.is_file()]
    subtitles = [path for path in files if path.suffix.lower() in SUBTITLES]
    if not subtitles:
        media = sum(map(is_media, files))
        present = f"{media} media file(s)" if media else "nothing of use"
        others = [path.name for path in files_below(raw) if path.is_dir() or path.suffix.lower() in OTHER_TRANSCRIPTS]
        present += f"; not read: {listed(others, 5)}" if others else ""
        raise InputError(
            f"{raw}: no .srt or .vtt file below it, found {present}. Put one beside each video: a.mp4, a.srt."
        )
    videos = _pair(subtitles, files)
    rows, problems, absent = [], [], {}
    for path in subtitles:
        name = path.relative_to(raw).as_posix()
        video = videos[path].relative_to(raw).as_posix() if path in videos else ""
        found = read_cues(path, name, video, options.speaker_prefix)
        rows += found.rows
        problems += found.problems
        absent |= found.absent
        if not video:
            problems.append(Problem(name, name, "no video beside it", "text only"))
    problems += unused_files(raw, [*subtitles, *videos.values(), raw / options.labels], "no subtitles")
    if not rows:
        raise InputError(f"{raw}: no cue of {len(subtitles)} subtitle file(s) has a text, first {subtitles[0].name}.")
    if options.labels != "none":
        rows, label_problems = _with_labels(raw / options.labels, rows, absent)
        problems += label_problems
    return rows, problems


def _pair(subtitles: list[Path], files: list[Path]) -> dict[Path, Path]:
    """Return the video of each subtitle file: the same name (`a.srt`), or with a language after it (`a.en.srt`).

    A video may have any suffix, or none. Names are compared in one Unicode form: a Mac's files have another.
    """

    def named_as(path: Path) -> str:
        return normalise("NFC", str(path))

    named = defaultdict(list)
    for path in files:
        for stem in {path, path.with_suffix("")}:
            named[named_as(stem)].append(path)
    videos, subtitle_of = {}, {}
    for path in subtitles:
        stem = path.with_suffix("")
        candidates, name = media_among(named.get(named_as(stem), [])), stem.name
        for _ in range(_MARKS):
            name = _MARK.sub("", name) or name
            candidates = candidates or media_among(named.get(named_as(stem.with_name(name)), []))
        if len(candidates) > 1:
            names = ", ".join(video.name for video in candidates)
            raise InputError(f"{path}: {names} have its name. Leave the one that the times are of.")
        for video in candidates:
            if video in subtitle_of:
                both = f"{subtitle_of[video].name} and {path.name} in {path.parent}"
                raise InputError(f"{both} both belong to {video.name}. Leave one.")
            videos[path], subtitle_of[video] = video, path
    return videos


def _with_labels(path: Path, rows: list[TableRow], absent: dict[str, str]) -> tuple[list[TableRow], list[Problem]]:
    """Return the rows with emotion, split and speaker of a table; `absent` says why a cue has no row."""
    columns = ("utterance_id", "emotion", "split", "speaker")
    text_rows, problems = read_text_rows(path, columns, columns[:2])
    ids, labels, faults = {row.utterance_id for row in rows}, {}, []
    for line, row in text_rows:
        name = row.pop("utterance_id")
        if name not in ids:
            nearest = did_you_mean(name, ids) if len(faults) < LISTED else ""
            reason = absent.get(name) or f"expected <subtitle file>_<cue's number>.{nearest}"
            faults.append(f"line {line}: no cue {name!r}; {reason}")
        elif name in labels:
            faults.append(f"line {line}: {name!r} is there twice")
        labels[name] = {column: value for column, value in row.items() if value}
    refuse(path, faults)
    return [replace(row, **labels.get(row.utterance_id, {})) for row in rows], problems
