"""First stage of stage 1: a raw corpus -> one row per utterance, and a table of problems.

Writes `data/<corpus>/utterances.csv` (for the extractors), `data/<corpus>/problems.csv` (for people) and
`features/<corpus>/utterances.h5` (for the trainer).

    python -m pipeline.prepare --corpus meld
"""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from dferc.core.console import PATH, CorpusName, print_note, readable_errors, shown_option
from dferc.core.errors import InputError, Problem, counted
from dferc.core.tables import write_table
from dferc.engine.options import engine_options
from dferc.store.cells import storage_fault
from dferc.store.hdf5 import write_utterances
from dferc.store.rows import TEXT_COLUMNS, UNLABELLED, Note, Utterances
from dferc.store.summary import show_summary
from pipeline import corpora
from pipeline.rows.duplicates import identical_clips, identical_files, media_groups
from pipeline.rows.measure import Faulty, check_share, check_spans, complete, file_problems, measure_clips
from pipeline.rows.utterances import Region, Utterance
from pipeline.settings import load_settings


def to_store(corpus: str, raw_corpus: corpora.RawCorpus, utterances: list[Utterance]) -> Utterances:
    """Return the rows as the trainer reads them; an utterance without usable media has the span NaN to NaN."""
    ids = {name: number for number, name in enumerate(raw_corpus.classes)} | {"": UNLABELLED}
    for row in utterances:
        if row.emotion not in ids:
            raise InputError(f"{row.utterance_id}: emotion {row.emotion!r} is none of {', '.join(raw_corpus.classes)}.")
    votes = [raw_corpus.votes.get(row.utterance_id, [np.nan] * len(raw_corpus.classes)) for row in utterances]
    usable = np.array([row.has_audio or row.has_video for row in utterances])
    spans = [row.seen[1:3] if row.has_video else row.heard[1:] for row in utterances]
    heard = [" ".join(map(str, row.heard)) if row.sound else "" for row in utterances]
    regions = [str(row.region) if row.has_video and row.region != Region() else "" for row in utterances]
    return Utterances(
        corpus=corpus,
        classes=raw_corpus.classes,
        protocol=raw_corpus.protocol,
        notes=tuple(raw_corpus.notes),
        speaker_independent=raw_corpus.speaker_independent,
        position=np.array([row.position for row in utterances], dtype=np.int64),
        emotion=np.array([ids[row.emotion] for row in utterances], dtype=np.int64),
        start_s=np.where(usable, [start_s for start_s, _ in spans], np.nan),
        end_s=np.where(usable, [end_s for _, end_s in spans], np.nan),
        votes=np.array(votes) if raw_corpus.votes else None,
        media=np.array([row.media for row in utterances], dtype=object),
        heard=np.array(heard, dtype=object) if any(heard) else None,
        region=np.array(regions, dtype=object) if any(regions) else None,
        **{name: np.array([getattr(row, name) for row in utterances], dtype=object) for name in TEXT_COLUMNS},
    )


def media_notes(problems: list[Problem]) -> list[Note]:
    """Summarise problems of the media for the protocol card: the trainer's machine has no problems.csv."""
    kinds = Counter(problem.kind for problem in problems)
    first = {problem.kind: problem.consequence for problem in reversed(problems)}
    return [Note(action="kept", what=f"utterances: {kind}", count=kinds[kind], why=first[kind]) for kind in kinds]


def report(rows: Utterances, utterances: list[Utterance], problems: list[Problem]) -> None:
    """Print what became of the corpus's rows, on one screen."""
    words = {"rows", "cues", "turns", "utterances"}
    dropped = (note.count for note in rows.notes if note.action == "dropped" and words & set(note.what.split()))
    signals = {"with sound": "has_audio", "with a picture": "has_video"}
    present = {name: np.array([getattr(row, flag) for row in utterances]) for name, flag in signals.items()}
    show_summary(rows, problems, rows_read=len(rows) + sum(dropped), signals=present)


def verify_rows(corpus: str, adapter: str, raw: Path, raw_corpus: corpora.RawCorpus) -> None:
    """Raise InputError if an adapter's rows lack texts or contradict each other, before any clip is opened."""
    try:
        for row, name in itertools.product(raw_corpus.utterances, TEXT_COLUMNS):
            if not isinstance(getattr(row, name), str):
                raise InputError(f"{row.utterance_id}: {name} is {getattr(row, name)!r}, expected text")
            if fault := storage_fault(getattr(row, name)):
                raise InputError(f"{row.utterance_id!a}: {name} holds {fault}")
        to_store(corpus, raw_corpus, raw_corpus.utterances)
    except (InputError, TypeError, ValueError) as error:
        raise InputError(
            f"{raw}: {str(error).rstrip('.')}. These rows come from the adapter pipeline/corpora/{adapter}.py: "
            "mend it, or the transcripts that it reads."
        ) from error


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="A block of the params file.")
@shown_option("--params", type=click.Path(dir_okay=False), default="params.yaml", help="Settings.")
@click.option("--raw", type=PATH, help="Raw corpus.  [default: data/raw/CORPUS]")
@click.option(  # --table is its name in the commands that read it
    "--table", "--utterances", "utterances_csv", type=PATH, help="To write.  [default: data/CORPUS/utterances.csv]"
)
@click.option("--problems", "problems_csv", type=PATH, help="To write.  [default: data/CORPUS/problems.csv]")
@click.option("--features", type=PATH, help="To write.  [default: features/CORPUS/utterances.h5]")
@engine_options
@readable_errors
def main(corpus, params, raw, utterances_csv, problems_csv, features, workers) -> None:
    """Raw corpus -> utterances, problems, and the trainer's utterances.h5."""
    from pipeline.check import check_classes, check_corpora  # imports torch: not in the worker processes

    settings = load_settings(params).corpus(corpus)
    section, raw = settings.prepare, raw or Path("data/raw", corpus)
    check_corpora({corpus: settings})
    raw_corpus = corpora.read(raw, section)
    verify_rows(corpus, section.adapter, raw, raw_corpus)
    check_classes(corpus, settings, raw_corpus.classes)
    measured = measure_clips(raw, raw_corpus.utterances, workers)
    completed = [complete(row, measured, section.max_utterance_s) for row in raw_corpus.utterances]
    utterances = [row for row, _ in completed]
    copies = identical_files(raw, (clip for clip, result in measured.items() if not isinstance(result, Faulty)))
    media_problems = [problem for _, row_problems in completed for problem in row_problems]
    copy_problems, copy_notes = identical_clips(copies, utterances)
    problems = raw_corpus.problems + file_problems(measured) + media_problems + copy_problems
    rows = replace(
        to_store(corpus, raw_corpus, utterances),
        media_group=media_groups(utterances, copies),
        notes=(*raw_corpus.notes, *media_notes(media_problems), *copy_notes),
    )
    problems_csv = problems_csv or Path("data", corpus, "problems.csv")
    write_table(problems_csv, problems, Problem)  # also where the stage then fails
    report(rows, utterances, problems)
    check_share(corpus, measured, section.max_unreadable, problems_csv)
    check_spans(corpus, utterances, problems, section.max_unreadable)
    write_table(utterances_csv or Path("data", corpus, "utterances.csv"), utterances, Utterance)
    write_utterances(features or Path("features", corpus, "utterances.h5"), rows)
    sizes = f"{counted(len(utterances), 'utterance')}, {counted(len(problems), 'problem')}"
    print_note(f"{sizes} ({problems_csv})", "done", "green")


if __name__ == "__main__":
    main()
