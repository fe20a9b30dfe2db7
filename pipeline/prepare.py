"""Stage 1, first step: a raw corpus -> one row per utterance, and the list of what is wrong with its media.

Every clip is opened and decoded a little: what is measured counts, not a list of known-bad files. Writes
`data/<corpus>/utterances.csv` (what the extractors read), `data/<corpus>/problems.csv` (for a person) and
`features/<corpus>/utterances.h5` (what the trainer reads).

    python -m pipeline.prepare --corpus meld
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from rich.markup import escape
from rich.table import Table

from dferc import SPLITS
from dferc.console import InputError, console, progress_bar, readable_errors
from dferc.corpus import UNLABELLED, Utterances
from dferc.params import Corpus, load_params
from dferc.store import write_utterances
from pipeline import corpora, engine
from pipeline.media import MediaError, MediaInfo, probe
from pipeline.utterances import Problem, Utterance, write_table

SHORT_S = 0.08
"""Clips below this have no audio functionals (openSMILE's IS10: all NaN at 0.06 s, finite from 0.08 s)."""

ROUNDING_S = 0.1
"""A span may end this far behind its file without a word: containers and subtitles round to a frame."""

EMPTY, OUTSIDE = "span empty", "span outside its file"
"""Kinds of problem that leave an utterance without media."""

WORDS = ("utterance_id", "dialogue_id", "speaker", "split", "text")
"""Columns of text in what the trainer reads."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """Why a clip gives neither sound nor picture."""

    problem: str


def measure(path: Path) -> MediaInfo | Faulty:
    """Open one clip; a clip at fault is a result, not an error."""
    if not path.is_file():
        return Faulty("clip missing")
    try:
        return probe(path)
    except MediaError as error:
        return Faulty(error.problem)


def measure_clips(raw: Path, utterances: list[Utterance], workers: int) -> dict[str, MediaInfo | Faulty]:
    """Measure every distinct clip once.

    Args:
        raw: folder that `media` is relative to.
        utterances: rows of the corpus.
        workers: worker processes; 0 = in this process.

    Returns:
        By `media`, in the order of first use.
    """
    clips = list(dict.fromkeys(utterance.media for utterance in utterances if utterance.media))
    measured = dict.fromkeys(clips)
    if not clips:
        return measured
    with progress_bar() as bar:
        task = bar.add_task("measuring clips", total=len(clips))
        for index, found in engine.run(measure, [raw / clip for clip in clips], workers):
            if isinstance(found, engine.WorkerDied):
                found = Faulty(str(found))
            measured[clips[index]] = found
            bar.advance(task)
    return measured


def complete(
    utterance: Utterance, found: MediaInfo | Faulty | None, max_utterance_s: float
) -> tuple[Utterance, list[Problem]]:
    """Fill in what was measured: the span (the adapter's, else the whole clip; cut to the file, capped), the streams.

    Args:
        utterance: a row as the adapter gave it.
        found: its clip as measured; None where it names none.
        max_utterance_s: cap in seconds.
    """
    if found is None:
        return replace(utterance, start_s=0.0, end_s=0.0), []
    lost = "no audio and no visual; the text is kept"
    if isinstance(found, Faulty):
        return replace(utterance, start_s=0.0, end_s=0.0), [_problem(utterance, found.problem, lost)]
    fault = _span_fault(utterance, found.duration_s)
    if fault:
        return replace(utterance, start_s=0.0, end_s=0.0), [_problem(utterance, fault, lost)]
    start_s, end_s, problems = _cut_to_file(utterance, found.duration_s)
    duration_s = end_s - start_s
    if duration_s > max_utterance_s:
        cut = f"too long: {duration_s:.1f} s, cut at {max_utterance_s:g} s"
        problems.append(_problem(utterance, cut, "what follows the cut is not used"))
        end_s = start_s + max_utterance_s
    if duration_s < SHORT_S:
        short = f"very short: {duration_s:.3f} s"
        problems.append(_problem(utterance, short, "kept; too short for audio features"))
    if not found.has_audio:
        problems.append(_problem(utterance, "no sound track", "no audio; picture and text are kept"))
    if not found.has_video:
        problems.append(_problem(utterance, "no picture", "no visual; sound and text are kept"))
    measured = {"start_s": start_s, "end_s": end_s, "has_audio": found.has_audio, "has_video": found.has_video}
    return replace(utterance, **measured), problems


def _span_fault(utterance: Utterance, duration_s: float) -> str | None:
    """Why nothing of the adapter's span lies in its file, or None."""
    start_s, end_s = utterance.start_s, utterance.end_s
    if end_s and end_s <= start_s:
        return f"{EMPTY}: {start_s:g} s to {end_s:g} s"
    if end_s < 0 or start_s > 0 and start_s >= duration_s:
        return f"{OUTSIDE}: {start_s:g} s to {f'{end_s:g} s' if end_s else 'its end'}, the file has {duration_s:.3f} s"
    return None


def _cut_to_file(utterance: Utterance, duration_s: float) -> tuple[float, float, list[Problem]]:
    """Begin and end of the span within its file, and what had to be cut off."""
    start_s, end_s, problems = utterance.start_s, utterance.end_s or duration_s, []
    if start_s < 0:
        problems.append(_problem(utterance, f"span begins before its file: {start_s:g} s", "used from 0 s"))
    if end_s > duration_s + ROUNDING_S:
        beyond = f"span ends beyond its file: {end_s:g} s, the file has {duration_s:.3f} s"
        problems.append(_problem(utterance, beyond, "used up to the end of the file"))
    return max(0.0, start_s), min(end_s, duration_s), problems


def identical_clips(raw: Path, measured: dict[str, MediaInfo | Faulty]) -> list[Problem]:
    """Readable clips with the same bytes as an earlier one (MELD has some, under different labels)."""
    by_size, first, problems = defaultdict(list), {}, []
    for clip, found in measured.items():
        if not isinstance(found, Faulty):
            by_size[(raw / clip).stat().st_size].append(clip)
    for clip in (clip for same in by_size.values() if len(same) > 1 for clip in same):
        with open(raw / clip, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        if first.setdefault(content, clip) != clip:
            same = f"identical clips: same bytes as {first[content]}"
            problems.append(Problem(where=clip, file=clip, problem=same, consequence="kept"))
    return problems


def check_share(corpus: str, measured: dict[str, MediaInfo | Faulty], max_unreadable: float, problems: Path) -> None:
    """Refuse a corpus whose media are mostly not there.

    Raises:
        InputError: the share of missing or unreadable clips exceeds `max_unreadable`.
    """
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
    """Refuse a corpus whose spans are mostly no part of their files: milliseconds for seconds, or another video.

    Raises:
        InputError: the share of such utterances, of those with media, exceeds `max_unreadable`.
    """
    with_media = sum(bool(row.media) for row in utterances)
    lost = [problem for problem in problems if problem.kind in (EMPTY, OUTSIDE)]
    if len(lost) <= max_unreadable * with_media:
        return
    listed = "".join(f"\n  {problem.where} ({problem.file}): {problem.problem}" for problem in lost[:5])
    raise InputError(
        f"{len(lost)} of {with_media} utterances have no part of their file ({len(lost) / with_media:.1%}; allowed: "
        f"{max_unreadable:.1%}):{listed}\nAre start and end seconds from the beginning of the file, and is it the "
        f"right file? Mend them, or raise {corpus}.prepare.max_unreadable in params.yaml."
    )


def to_store(corpus: str, raw_corpus: corpora.RawCorpus, utterances: list[Utterance]) -> Utterances:
    """The rows as the trainer reads them; an utterance without usable media has the span NaN to NaN.

    Raises:
        InputError: the rows contradict each other, or have an emotion that is none of the classes.
    """
    ids = {name: number for number, name in enumerate(raw_corpus.classes)} | {"": UNLABELLED}
    strange = next((row for row in utterances if row.emotion not in ids), None)
    if strange is not None:
        raise InputError(
            f"{strange.utterance_id}: emotion {strange.emotion!r} is none of {', '.join(raw_corpus.classes)}."
        )
    usable = np.array([row.has_audio or row.has_video for row in utterances])
    return Utterances(
        corpus=corpus,
        classes=raw_corpus.classes,
        protocol=raw_corpus.protocol,
        notes=tuple(raw_corpus.notes),
        speaker_independent=raw_corpus.speaker_independent,
        position=np.array([row.position for row in utterances], dtype=np.int64),
        emotion=np.array([ids[row.emotion] for row in utterances], dtype=np.int64),
        start_s=np.where(usable, [row.start_s for row in utterances], np.nan),
        end_s=np.where(usable, [row.end_s for row in utterances], np.nan),
        **{name: np.array([getattr(row, name) for row in utterances], dtype=object) for name in WORDS},
    )


def report(corpus: str, classes: tuple[str, ...], utterances: list[Utterance], problems: list[Problem]) -> None:
    """Print what the corpus holds, per split and class, and the problems by kind."""
    counts = {split: _counts(classes, [row for row in utterances if row.split == split]) for split in SPLITS}
    table = Table("", *SPLITS, title=f"{escape(corpus)}: utterances")
    for name in counts[SPLITS[0]]:
        table.add_row(escape(name), *(str(counts[split][name]) for split in SPLITS))
    console.print(table)
    if problems:
        kinds = Counter(problem.kind for problem in problems)
        table = Table("problem", "count", "first", title=f"{escape(corpus)}: problems")
        for kind, count in kinds.most_common():
            first = next(problem for problem in problems if problem.kind == kind)
            table.add_row(escape(kind), str(count), escape(f"{first.where}: {first.consequence}"))
        console.print(table)


def _counts(classes: tuple[str, ...], rows: list[Utterance]) -> dict[str, int]:
    """What the report says of one split."""
    positions = defaultdict(list)
    for row in rows:
        positions[row.dialogue_id].append(row.position)
    emotions = Counter(row.emotion for row in rows)
    return {
        "dialogues": len(positions),
        "  of one utterance": sum(len(places) == 1 for places in positions.values()),
        "  with gaps in positions": sum(places != list(range(len(places))) for places in positions.values()),
        "utterances": len(rows),
        **{f"  {name}": emotions[name] for name in classes},
        "  unlabelled": emotions[""],
        "with sound": sum(row.has_audio for row in rows),
        "with a picture": sum(row.has_video for row in rows),
    }


def _problem(utterance: Utterance, problem: str, consequence: str) -> Problem:
    return Problem(where=utterance.utterance_id, file=utterance.media, problem=problem, consequence=consequence)


def verify_rows(corpus: str, adapter: str, raw: Path, raw_corpus: corpora.RawCorpus) -> None:
    """Check an adapter's rows, before any clip is opened.

    Raises:
        InputError: a text is none, or the rows contradict each other; it names the adapter.
    """
    try:
        for row, name in itertools.product(raw_corpus.utterances, WORDS):
            if not isinstance(getattr(row, name), str):
                raise InputError(f"{row.utterance_id}: {name} is {getattr(row, name)!r}, expected text")
        to_store(corpus, raw_corpus, raw_corpus.utterances)
    except (InputError, TypeError, ValueError) as error:
        raise InputError(
            f"{raw}: {str(error).rstrip('.')}. These rows come from the adapter pipeline/corpora/{adapter}.py: "
            "mend it, or the transcripts that it reads."
        ) from error


def prepare(
    corpus: str, settings: Corpus, raw: Path, utterances_csv: Path, problems_csv: Path, features: Path, workers: int
) -> None:
    """The whole step; the problems table is written even where the step then fails.

    Raises:
        InputError: the settings ask for what is not there, the raw corpus is faulty, or too many of its clips are.
    """
    from pipeline.check import check_classes, check_corpus  # imports torch: not in the worker processes

    check_corpus(corpus, settings)
    asked = settings.prepare
    raw_corpus = corpora.read(raw, asked)
    verify_rows(corpus, asked.adapter, raw, raw_corpus)
    check_classes(corpus, settings, raw_corpus.classes)
    measured = measure_clips(raw, raw_corpus.utterances, workers)
    completed = [complete(row, measured.get(row.media), asked.max_utterance_s) for row in raw_corpus.utterances]
    utterances = [row for row, _ in completed]
    problems = raw_corpus.problems + [problem for _, found in completed for problem in found]
    problems += identical_clips(raw, measured)
    rows = to_store(corpus, raw_corpus, utterances)
    write_table(problems_csv, problems, Problem)
    report(corpus, raw_corpus.classes, utterances, problems)
    check_share(corpus, measured, asked.max_unreadable, problems_csv)
    check_spans(corpus, utterances, problems, asked.max_unreadable)
    write_table(utterances_csv, utterances, Utterance)
    write_utterances(features, rows)
    console.print(
        f"[green]done[/] {len(utterances)} utterances, {len(problems)} problems ({problems_csv})", soft_wrap=True
    )


@click.command()
@click.option("--corpus", required=True, help="A block of the params file.")
@click.option("--params", type=click.Path(dir_okay=False), default="params.yaml", show_default=True, help="Settings.")
@click.option("--raw", type=click.Path(path_type=Path), help="Raw corpus [data/raw/CORPUS].")
@click.option("--utterances", type=click.Path(path_type=Path), help="Output [data/CORPUS/utterances.csv].")
@click.option("--problems", type=click.Path(path_type=Path), help="Output [data/CORPUS/problems.csv].")
@click.option("--features", type=click.Path(path_type=Path), help="Output [features/CORPUS/utterances.h5].")
@click.option("--workers", default=engine.default_workers, type=click.IntRange(min=0), help="Processes [all CPUs].")
@readable_errors
def main(corpus, params, raw, utterances, problems, features, workers):
    """Raw corpus -> utterances, problems, and the trainer's utterances.h5."""
    prepare(
        corpus,
        load_params(params).corpus(corpus),
        raw or Path("data/raw", corpus),
        utterances or Path("data", corpus, "utterances.csv"),
        problems or Path("data", corpus, "problems.csv"),
        features or Path("features", corpus, "utterances.h5"),
        workers,
    )


if __name__ == "__main__":
    main()
