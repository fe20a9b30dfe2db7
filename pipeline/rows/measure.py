"""Measurement of a corpus's media files: their streams, the span of each utterance in them, and problems.

Every file is opened and decoded a little, once: there is no list of files known to be bad.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dferc import engine
from dferc.core.console import progress_bar
from dferc.core.errors import InputError, Problem
from pipeline.media.files import MediaError, MediaInfo, probe
from pipeline.rows.utterances import Utterance

SHORT_S = 0.08  # clips below this have no audio functionals (openSMILE's IS10: all NaN at 0.06 s, finite from 0.08 s)
ROUNDING_S = 0.1  # a span may end this far behind its file without a warning: containers and subtitles round to a frame

EMPTY, OUTSIDE = "span empty", "span outside its file"  # kinds of problem that leave an utterance without media


@dataclass(frozen=True, slots=True)
class Faulty:
    """The reason why a file gives neither sound nor picture."""

    problem: str


def measure(path: Path) -> MediaInfo | Faulty:
    """Open one clip; a faulty clip is a result, not an error."""
    if not os.path.exists(path):  # unlike Path.exists, whatever the name
        return Faulty("clip missing")
    try:
        return probe(path)
    except MediaError as error:
        return Faulty(error.problem)


def measure_clips(raw: Path, utterances: list[Utterance], workers: engine.Workers) -> dict[str, MediaInfo | Faulty]:
    """Measure every distinct file of picture or sound below `raw` once; return them by path, in order of first use."""
    clips = list(dict.fromkeys(file for row in utterances for file in (row.media, row.sound) if file))
    measured = dict.fromkeys(clips)
    if not clips:
        return measured
    files = [raw.absolute() / clip for clip in clips]
    present = next((file for file in files if os.path.isfile(file)), raw)
    with progress_bar() as bar:
        task = bar.add_task("measuring clips", total=len(clips))
        for index, info in engine.run(engine.stateless(measure), files, workers, (raw, present)):
            measured[clips[index]] = Faulty(str(info)) if isinstance(info, engine.WorkerDied) else info
            bar.advance(task)
    return measured


def file_problems(measured: Mapping[str, MediaInfo | Faulty]) -> list[Problem]:
    """List what is odd about files that are used, once for each file."""
    return [
        Problem(where=clip, file=clip, problem=problem, consequence=consequence)
        for clip, info in measured.items()
        if isinstance(info, MediaInfo)
        for problem, consequence in info.remarks
    ]


def complete(
    utterance: Utterance, measured: Mapping[str, MediaInfo | Faulty], max_utterance_s: float
) -> tuple[Utterance, list[Problem]]:
    """Fill in the measured spans and streams. A span is the adapter's, else the whole file; cut to the file, capped."""
    parts = [
        (utterance.media, "start_s", "end_s", ("has_video",) if utterance.sound else ("has_audio", "has_video")),
        (utterance.sound, "sound_start_s", "sound_end_s", ("has_audio",)),
    ]
    filled, problems = {}, []
    for file, start, end, streams in parts:
        used, faults = None, []
        if file:
            used, faults = _used(measured[file], getattr(utterance, start), getattr(utterance, end), max_utterance_s)
            filled |= {stream: used is not None and getattr(measured[file], stream) for stream in streams}
            if used is not None:
                faults += [(_NO_STREAM[stream], _WITHOUT[(stream,)]) for stream in streams if not filled[stream]]
        filled |= dict(zip((start, end), used or (0.0, 0.0), strict=True))
        problems += [
            Problem(where=utterance.utterance_id, file=file, problem=fault, consequence=then or _WITHOUT[streams])
            for fault, then in faults
        ]
    return replace(utterance, **filled), problems


_NO_STREAM = {"has_audio": "no sound track", "has_video": "no picture"}
_WITHOUT = {  # consequence by the streams that are missing
    ("has_audio", "has_video"): "no audio and no visual; the text is kept",
    ("has_audio",): "no audio; picture and text are kept",
    ("has_video",): "no visual; sound and text are kept",
}


def _used(
    info: MediaInfo | Faulty, start_s: float, end_s: float, max_s: float
) -> tuple[tuple[float, float] | None, list[tuple[str, str]]]:
    """Return the part of a file that is used, None = nothing; and problems with consequences (empty: it is lost)."""
    if isinstance(info, Faulty):
        return None, [(info.problem, "")]
    length_s = info.duration_s
    if end_s and end_s <= start_s:
        return None, [(f"{EMPTY}: {start_s:g} s to {end_s:g} s", "")]
    if end_s < 0 or start_s > 0 and start_s >= length_s:
        end = f"{end_s:g} s" if end_s else "its end"
        return None, [(f"{OUTSIDE}: {start_s:g} s to {end}, the file has {length_s:.3f} s", "")]
    faults = []
    if start_s < 0:
        faults.append((f"span begins before its file: {start_s:g} s", "used from 0 s"))
    if end_s > length_s + ROUNDING_S:
        beyond = f"span ends beyond its file: {end_s:g} s, the file has {length_s:.3f} s"
        faults.append((beyond, "used up to the end of the file"))
    start_s, end_s = max(0.0, start_s), min(end_s or length_s, length_s)
    duration_s = end_s - start_s
    if duration_s > max_s:
        faults.append((f"too long: {duration_s:.1f} s, cut at {max_s:g} s", "what follows the cut is not used"))
        end_s = start_s + max_s
    if duration_s < SHORT_S:
        faults.append((f"very short: {duration_s:.3f} s", "kept; too short for audio features"))
    return (float(start_s), float(end_s)), faults  # a table would round NumPy's short ones


def check_share(corpus: str, measured: dict[str, MediaInfo | Faulty], max_unreadable: float, problems: Path) -> None:
    """Raise InputError if the share of missing or unreadable clips exceeds `max_unreadable`."""
    faulty = [(clip, found.problem) for clip, found in measured.items() if isinstance(found, Faulty)]
    if len(faulty) <= max_unreadable * len(measured):
        return
    listed = "".join(f"\n  {clip}: {problem}" for clip, problem in faulty[:5])
    more = f"\n  … and {len(faulty) - 5} more, all in {problems}" if len(faulty) > 5 else ""
    raise InputError(
        f"{len(faulty)} of {len(measured)} clips are missing or unreadable ({len(faulty) / len(measured):.1%}; "
        f"allowed: {max_unreadable:.1%}):{listed}{more}\n"
        f"Mend or fetch them, or raise {corpus}.prepare.max_unreadable in params.yaml."
    )


def check_spans(corpus: str, utterances: list[Utterance], problems: list[Problem], max_unreadable: float) -> None:
    """Raise InputError if too many spans are no part of their files: milliseconds for seconds, or another video."""
    with_media = sum(bool(row.media or row.sound) for row in utterances)
    lost = {problem.where: problem for problem in problems if problem.kind in (EMPTY, OUTSIDE)}
    if len(lost) <= max_unreadable * with_media:
        return
    listed = "".join(f"\n  {problem.where} ({problem.file}): {problem.problem}" for problem in list(lost.values())[:5])
    raise InputError(
        f"{len(lost)} of {with_media} utterances have no part of their file ({len(lost) / with_media:.1%}; allowed: "
        f"{max_unreadable:.1%}):{listed}\nAre start and end seconds from the beginning of the file, and is it the "
        f"right file? Mend them, or raise {corpus}.prepare.max_unreadable in params.yaml."
    )
