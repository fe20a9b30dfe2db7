"""The synthetic demo corpus of `pipeline.make_demo`: made-up speakers, tones for voices, drawn faces."""

import csv
from pathlib import Path

from dferc.core.errors import InputError, Problem
from dferc.store.vocabulary import SPLITS
from pipeline.corpora import RawCorpus
from pipeline.demo.plan import CLASSES, PROTOCOL, TRANSCRIPT_COLUMNS
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare

_AGAIN = "Make the corpus again: `python -m pipeline.make_demo`."


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read the synthetic corpus's transcripts."""
    path = Path(raw) / "transcripts.csv"
    if not path.exists():
        raise InputError(f"{path} is missing. {_AGAIN}")
    utterances = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != TRANSCRIPT_COLUMNS:
            raise InputError(f"{path}: expected {', '.join(TRANSCRIPT_COLUMNS)}; found {reader.fieldnames}. {_AGAIN}")
        for row in reader:
            try:
                if row["emotion"] not in ("", *CLASSES):
                    raise ValueError(f"emotion {row['emotion']!r}, expected {', '.join(CLASSES)} or nothing")
                if row["split"] not in SPLITS:
                    raise ValueError(f"split {row['split']!r}, expected {', '.join(SPLITS)}")
                position, media = int(row.pop("position")), row.pop("clip")
                utterances.append(Utterance(**row, position=position, media=media))
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}, line {reader.line_num}, {row['utterance_id']}: {error}. {_AGAIN}") from None
    if not utterances:
        raise InputError(f"{path} has no utterances. {_AGAIN}")
    unlabelled = [
        Problem(row.utterance_id, path.name, "no emotion label", "context only: in no loss and no score")
        for row in utterances
        if not row.emotion
    ]
    return RawCorpus(classes=CLASSES, protocol=PROTOCOL, utterances=utterances, problems=unlabelled)
