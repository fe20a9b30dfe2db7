"""Rows of one medium: its transcript and what is measured of it, as stage 1 and the trainer read them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dferc.core.errors import InputError, Problem
from dferc.store.rows import Features, Utterances
from pipeline.corpora import RawCorpus
from pipeline.media.files import MediaInfo
from pipeline.prepare import to_store
from pipeline.rows.measure import Faulty, complete, file_problems, measure
from pipeline.rows.utterances import Utterance
from pipeline.speech import Transcript

LONGEST_S = 30.0  # of an utterance that is used: `prepare.max_utterance_s` of params.yaml
CORPUS = "video"  # name of the corpus that one medium makes

NO_MEDIUM = "a transcript alone"
NO_TIMES = "the transcript has no times"
NO_TEXT = "no words"

_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class MediumRows:
    """One medium as a corpus of one dialogue."""

    rows: list[Utterance]
    utterances: Utterances
    problems: list[Problem]  # of the file and of single utterances
    absent: list[dict[str, str]]  # by row: modalities that cannot be extracted, and why


def plain_name(path: Path) -> str:
    """Return the name of a file as it can be stored and shown: control characters and broken ones are replaced."""
    return _UNSTORABLE.sub("_", path.name)


def measure_medium(path: Path) -> MediaInfo:
    """Open a medium and read it through.

    Raises:
        InputError: there is no such file, or it is neither sound nor video.
    """
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Expected a video or a sound file; copy or record it again.")
    measured = measure(path)
    if isinstance(measured, Faulty):
        if measured.problem == "clip missing":
            raise InputError(f"{path}: no such file. Expected a video, a sound file, or a transcript.")
        raise InputError(
            f"{path} is no video and no sound file that can be used: {measured.problem}. Convert it "
            "(`ffmpeg -i FILE new.mp4`); a transcript alone must end in .srt, .vtt, .csv, .tsv, .jsonl or .txt."
        )
    return measured


def rows_of(
    media: Path, info: MediaInfo | None, transcript: Transcript, classes: Sequence[str], scene_s: float | None = None
) -> MediumRows:
    """Return the utterances of a transcript as rows, with their spans in the medium.

    Args:
        media: the medium; its folder is the raw folder of the rows.
        info: measurements of it; None where there is a transcript alone.
        transcript: with at least one utterance.
        classes: emotions that the model knows.
        scene_s: silence in seconds that begins a new dialogue; None = the whole medium is one.
    """
    name, stem = plain_name(media), _UNSTORABLE.sub("_", media.stem)
    measured = {} if info is None else {media.name: info}
    rows, problems, absent = [], [], []
    lacking = {"no sound track": "has_audio", "no picture": "has_video"}  # in the whole medium: a note reports it once
    of_the_medium = [problem for problem, stream in lacking.items() if info and not getattr(info, stream)]
    for position, (spoken, scene) in enumerate(zip(transcript.utterances, _scenes(transcript, scene_s), strict=True)):
        timed = spoken.end_s is not None and spoken.end_s > 0
        row = Utterance(
            utterance_id=spoken.own_id or f"{stem}_{position:04d}",
            dialogue_id=f"{stem}_scene{scene}",
            position=position,
            speaker=spoken.speaker,
            emotion="",
            split="test",
            text=spoken.text,
            **({"media": media.name, "start_s": spoken.start_s, "end_s": spoken.end_s} if info and timed else {}),
        )
        row, found = complete(row, measured, LONGEST_S)
        rows.append(row)
        absent.append(_absent(row, found, NO_MEDIUM if info is None else NO_TIMES))
        problems += (problem for problem in found if problem.problem not in of_the_medium)
    stored = [replace(row, media=name if row.media else "") for row in rows]
    corpus = RawCorpus(classes=tuple(classes), protocol="one medium, unlabelled", utterances=stored)
    return MediumRows(
        rows=rows,
        utterances=to_store(CORPUS, corpus, stored),
        problems=file_remarks(media, info) + [replace(problem, file=name) for problem in problems],
        absent=absent,
    )


def file_remarks(media: Path, info: MediaInfo | None) -> list[Problem]:
    """Return what is odd about the medium itself, such as tracks that are not used."""
    name = plain_name(media)
    return [replace(problem, where=name, file=name) for problem in file_problems({name: info})]


def _scenes(transcript: Transcript, scene_s: float | None) -> Iterator[int]:
    """Yield the number of the dialogue of each utterance."""
    scene, ended_s = 0, None
    for spoken in transcript.utterances:
        if scene_s is not None and None not in (ended_s, spoken.start_s) and spoken.start_s - ended_s >= scene_s:
            scene += 1
        ended_s = spoken.end_s if ended_s is None else max(ended_s, spoken.end_s or 0.0)
        yield scene


def _absent(row: Utterance, problems: Sequence[Problem], without_media: str) -> dict[str, str]:
    """Return why a row cannot have a modality, as far as prepare's measurements decide it."""
    reasons = {} if row.text.strip() else {"text": NO_TEXT}
    for modality, present, mark in (("audio", row.has_audio, "no audio"), ("visual", row.has_video, "no visual")):
        if not present:
            found = (problem.problem for problem in problems if mark in problem.consequence)
            reasons[modality] = next(found, without_media)
    return reasons


def with_extracted(
    absent: Sequence[Mapping[str, str]], features: Features, problems: Sequence[Problem]
) -> list[dict[str, str]]:
    """Add the rows for which an extractor has no values, with its problem as the reason."""
    problem_of = {problem.where: problem.problem for problem in problems}
    completed = []
    for reasons, utterance_id, present in zip(absent, features.utterance_id, features.present, strict=True):
        reason = reasons.get(features.modality) or problem_of.get(utterance_id) or "no values"
        others = {name: why for name, why in reasons.items() if name != features.modality}
        completed.append(others if present else others | {features.modality: reason})
    return completed
