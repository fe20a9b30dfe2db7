"""Plan of the synthetic demo corpus: speaker and emotion of each utterance, and how well each modality shows it.

Emotions have inertia within a dialogue, so context helps. Each utterance and modality has a planted reliability. A
reliable modality shows the true emotion clearly. An unreliable one shows little, perhaps a wrong emotion, in a signal
that is vague, noisy or blurred, so that a model can learn to trust it less. All strengths are constants of this file.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dferc.store.vocabulary import MODALITIES, SPLITS

CLASSES = ("neutral", "joy", "sadness", "anger", "fear", "surprise")  # emotions of the demo

PROTOCOL = "synthetic demo corpus, 6 emotions, split by dialogue; no real people, no real speech"

TRANSCRIPT_COLUMNS = ("utterance_id", "dialogue_id", "position", "speaker", "emotion", "split", "text", "clip")
"""Columns of transcripts.csv."""

INERTIA = 0.75  # probability that an utterance keeps the emotion of the one before it
NEUTRAL_WEIGHT = 1.8  # weight of a turn to neutral against 1 for any other emotion

RELIABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RELIABILITY_WEIGHTS = (3, 3, 3, 2, 2, 1, 1, 1, 2, 2)
"""Relative frequency of each level: weak signals prevail, so that about one utterance in five is weak in all three."""

TRUTH_AT_ZERO, TRUTH_FULL_FROM = 0.3, 0.6
"""Probability of showing the true emotion at reliability 0; it rises linearly to 1 at the reliability of the second."""

DIALOGUES = {"train": 35, "validation": 10, "test": 15}  # dialogues per split, in this order
LENGTHS = tuple(range(13, 3, -1))  # utterances per dialogue, used in turn, then shuffled over the dialogues

SPEAKERS_PER_DIALOGUE = (2, 4)
TURN_TAKING = 0.85  # probability that another speaker goes on

CAST = ("Ada", "Björn", "Chloé", "Dmitri", "Élodie", "Femi", "Grażyna", "Hiro", "İpek", "João", "Kōji", "Lena")
"""Made-up speakers; each has a voice and a face of its own."""

MIN_PER_CLASS = 6  # labelled utterances that every class has in every split

NO_FACE, NO_SOUND, NO_PICTURE = "no face", "no sound track", "no picture stream"
CORRUPT, MISSING, TINY = "truncated file", "missing file", "0.05 s"

AWKWARD_CLIPS = {
    (2, 1): NO_FACE, (5, 2): NO_SOUND, (8, 1): NO_PICTURE, (11, 3): CORRUPT, (14, 2): MISSING, (17, 1): TINY
}  # fmt: skip
"""(dialogue, utterance) -> what is wrong with its clip."""

LOST = {
    **dict.fromkeys((NO_FACE, NO_PICTURE), ("visual",)),
    **dict.fromkeys((NO_SOUND, TINY), ("audio",)),
    **dict.fromkeys((CORRUPT, MISSING), ("audio", "visual")),
}
"""Modalities that an awkward clip lacks; their planted reliability is 0."""

SINGLE_UTTERANCE_DIALOGUE = 20
UNLABELLED = ((23, 1), (52, 2))  # (dialogue, utterance) that carry no emotion label
GAPS = {(26, 2): 3, (47, 1): 1}  # (dialogue, utterance) -> positions that are skipped before it


class Planted(NamedTuple):
    """Reliability (0 to 1) of one modality of an utterance, and the emotion that it shows ("" = there is no signal)."""

    reliability: float
    shown: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedUtterance:
    """One synthetic utterance, before it is written, spoken and drawn."""

    utterance_id: str
    dialogue_id: str
    dialogue: int  # number of the dialogue in the corpus
    index: int  # number of the utterance in the dialogue
    position: int  # its place as the corpus counts it (gaps stay)
    speaker: int  # index into `CAST`
    emotion: str  # the true emotion, also where the label is withheld
    labelled: bool  # the label is given
    split: str
    planted: tuple[Planted, Planted, Planted]  # what each modality shows, in the order of `MODALITIES`
    awkward: str = ""  # what is wrong with the clip, or empty

    @property
    def clip(self) -> str:
        """The clip's path in the raw folder."""
        return f"clips/{self.utterance_id}.mp4"


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return a random stream of its own for each key, so that no part depends on the order of the work."""
    return np.random.default_rng((seed, *key))


def plan_corpus(seed: int) -> list[PlannedUtterance]:
    """Plan all utterances; draw again until every split has enough of every class."""
    for attempt in itertools.count():
        rng = generator(seed, 0, attempt)
        splits = [split for split in SPLITS for _ in range(DIALOGUES[split])]
        lengths = list(itertools.islice(itertools.cycle(LENGTHS), len(splits) - 1))
        rng.shuffle(lengths)
        lengths.insert(SINGLE_UTTERANCE_DIALOGUE, 1)
        rows = []
        for dialogue, (split, length) in enumerate(zip(splits, lengths, strict=True)):
            rows += _draw_dialogue(rng, dialogue, split, length)
        counts = Counter((row.split, row.emotion) for row in rows if row.labelled)
        if all(counts[split, emotion] >= MIN_PER_CLASS for split in SPLITS for emotion in CLASSES):
            return rows


def _draw_dialogue(rng: np.random.Generator, dialogue: int, split: str, length: int) -> Iterator[PlannedUtterance]:
    speakers = _draw_speakers(rng, length)
    skipped = 0
    for index, (speaker, emotion) in enumerate(zip(speakers, _draw_emotions(rng, length), strict=True)):
        awkward = AWKWARD_CLIPS.get((dialogue, index), "")
        skipped += GAPS.get((dialogue, index), 0)
        yield PlannedUtterance(
            utterance_id=f"d{dialogue:02d}_u{index + skipped:02d}",
            dialogue_id=f"d{dialogue:02d}",
            dialogue=dialogue,
            index=index,
            position=index + skipped,
            speaker=speaker,
            emotion=emotion,
            labelled=(dialogue, index) not in UNLABELLED,
            split=split,
            planted=tuple(_plant(rng, emotion, modality in LOST.get(awkward, ())) for modality in MODALITIES),
            awkward=awkward,
        )


def _draw_emotions(rng: np.random.Generator, length: int) -> list[str]:
    """Draw a chain that keeps its state with probability `INERTIA`, else moves to another."""
    emotions = [_other_emotion(rng, "")]
    while len(emotions) < length:
        emotions.append(emotions[-1] if rng.random() < INERTIA else _other_emotion(rng, emotions[-1]))
    return emotions


def _other_emotion(rng: np.random.Generator, current: str) -> str:
    weights = np.array([(NEUTRAL_WEIGHT if name == "neutral" else 1.0) * (name != current) for name in CLASSES])
    return str(rng.choice(CLASSES, p=weights / weights.sum()))


def _draw_speakers(rng: np.random.Generator, length: int) -> list[int]:
    low, high = SPEAKERS_PER_DIALOGUE
    present = [int(member) for member in rng.permutation(len(CAST))[: rng.integers(low, high + 1)]]
    speakers = [present[0]]
    while len(speakers) < length:
        others = [member for member in present if member != speakers[-1]]
        speakers.append(int(rng.choice(others)) if rng.random() < TURN_TAKING else speakers[-1])
    return speakers


def _plant(rng: np.random.Generator, emotion: str, lost: bool) -> Planted:
    weights = np.array(RELIABILITY_WEIGHTS, dtype=float)
    reliability = float(rng.choice(RELIABILITIES, p=weights / weights.sum()))
    truth = TRUTH_AT_ZERO + (1 - TRUTH_AT_ZERO) * min(1.0, reliability / TRUTH_FULL_FROM)
    shown = emotion if rng.random() < truth else _other_emotion(rng, emotion)
    return Planted(reliability=0.0, shown="") if lost else Planted(reliability=reliability, shown=shown)
