"""Data of the dialogue browser: every utterance of a split beside what each run says of it.

Columns instead of records, and whole percents: MELD's 2,610 test utterances times 18 runs stay below 3 MB. The class of
a run is the one that its seeds choose together (highest mean probability). N utterances, S seeds, C classes, M
modalities.
"""

from collections.abc import Sequence

import numpy as np

from dferc.core.errors import InputError
from dferc.results.analyses.saved import Saved, read_saved
from dferc.results.compare import Ablation
from dferc.store.rows import CachedCorpus, Utterances

UNKNOWN = -1
"""An emotion shift that cannot be told: no label, no name, or the speaker's first labelled utterance."""


def browser(ablation: Ablation, corpus: CachedCorpus) -> dict:
    """What page/rows.js shows.

    Args:
        ablation: whose runs.
        corpus: where texts, speakers and presence are from.

    Raises:
        InputError: predictions of other utterances than the features have.
    """
    classes = ablation.reference.classes
    here = np.flatnonzero(corpus.utterances.split == ablation.reference.split)
    ids = corpus.utterances.utterance_id[here]
    return {
        "classes": list(classes),
        "modalities": list(corpus.modalities),
        "reference": ablation.reference.folder.name,
        "utterances": _utterances(corpus, here, classes),
        "runs": [_run(row.name, read_saved(row.run), ids) for row in ablation.rows],
    }


def _utterances(corpus: CachedCorpus, here: np.ndarray, classes: Sequence[str]) -> dict:
    """Columns, in the corpus' order; `before`: the speaker's last emotion, UNKNOWN where there is none."""
    rows = corpus.utterances
    number = np.array([classes.index(name) for name in rows.classes] + [UNKNOWN])  # the last is for the unlabelled
    absent = np.stack([~corpus.modalities[modality].present[here] for modality in corpus.modalities])
    return {
        "id": rows.utterance_id[here].tolist(),
        "dialogue": rows.dialogue_id[here].tolist(),
        "position": rows.position[here].tolist(),
        "speaker": rows.speaker[here].tolist(),
        "text": rows.text[here].tolist(),
        "actual": number[rows.emotion[here]].tolist(),
        "before": number[emotion_before(rows)[here]].tolist(),
        "absent": [np.flatnonzero(each).tolist() for each in absent.T],
    }


def emotion_before(rows: Utterances) -> np.ndarray:
    """[N] the emotion of the same speaker's last labelled utterance in the dialogue; UNKNOWN where there is none."""
    before, last = np.full(len(rows), UNKNOWN), {}
    for row, (dialogue, speaker, emotion) in enumerate(zip(rows.dialogue_id, rows.speaker, rows.emotion)):
        if speaker:
            before[row] = last.get((dialogue, speaker), UNKNOWN)
            if emotion >= 0:
                last[dialogue, speaker] = emotion
    return before


def _run(name: str, saved: Saved, ids: np.ndarray) -> dict:
    """Means over the seeds in whole percent, flat, and each seed's class; None where the run knows no such thing."""
    place = {utterance: at for at, utterance in enumerate(saved.utterance_id_T)}
    differing = set(place) ^ set(ids)
    if differing:
        raise InputError(
            f"{name}: its predictions and the features have different utterances, such as "
            f"{sorted(differing)[0]!r}. Score it again: `dferc evaluate`."
        )
    order_N = [place[each] for each in ids]
    probability_SNC = saved.probability_STC[:, order_N]
    weight_SN = saved.context_weight_ST[:, order_N]
    return {
        "name": name,
        "seeds": list(saved.seeds),
        "modalities": list(saved.modalities),
        "probability": _percent(probability_SNC),
        "chosen": probability_SNC.mean(axis=0).argmax(axis=1).tolist(),
        "by_seed": saved.predicted_ST[:, order_N].ravel().tolist(),
        "contribution": _percent(saved.contribution_STM[:, order_N]) if saved.modalities else None,
        "context_weight": _percent(weight_SN) if np.isfinite(weight_SN).all() else None,
    }


def _percent(values: np.ndarray) -> list[int]:
    """Mean over the seeds (first axis), flat."""
    return np.rint(100 * values.mean(axis=0)).astype(int).ravel().tolist()
