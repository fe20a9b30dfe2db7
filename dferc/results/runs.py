"""What finished runs left behind, read back to be compared: runs/<corpus>/<variant>/{metrics.json,evaluate/}.

Labelled utterances of one split only. S seeds, N utterances, C classes.
"""

import csv
import difflib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.model.variants import VARIANTS
from dferc.results.statistics import Counts, Scores, count, score_seeds

NEEDED = ("seed", "utterance_id", "dialogue_id", "split", "emotion", "predicted")

ROUNDING = 2e-6
"""metrics.json keeps six decimals."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The predictions of one variant for one split, utterances ordered by id; made by `read_run`."""

    folder: Path
    split: str
    card: Mapping
    """The protocol card: evaluate/protocol.json."""
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    utterance_id: np.ndarray
    dialogue_N: np.ndarray
    """Numbers from 0."""
    actual_N: np.ndarray
    predicted_SN: np.ndarray
    probability_SNC: np.ndarray

    @cached_property
    def counts(self) -> Counts:
        """By dialogue."""
        return count(self.actual_N, self.predicted_SN, self.dialogue_N, len(self.classes))

    @cached_property
    def scores(self) -> Scores:
        """Per seed."""
        return score_seeds(self.counts)

    @property
    def dialogues(self) -> int:
        """D."""
        return int(self.dialogue_N.max()) + 1

    @property
    def support(self) -> np.ndarray:
        """[C] labelled utterances of each class."""
        return self.counts.actual_DC.sum(axis=0)

    @property
    def together(self) -> np.ndarray:
        """[N] the class that the seeds together choose: the highest mean probability."""
        return self.probability_SNC.mean(axis=0).argmax(axis=1)

    def only(self, seeds: tuple[int, ...]) -> "Run":
        """The same with these of its seeds."""
        at = [self.seeds.index(seed) for seed in seeds]
        return replace(self, seeds=seeds, predicted_SN=self.predicted_SN[at], probability_SNC=self.probability_SNC[at])


def choose_split(folder: Path) -> str:
    """What a run is compared on where nobody says: test, or validation where no test utterance has a label.

    Raises:
        InputError: its protocol card is damaged.
    """
    path = folder / "evaluate/protocol.json"
    if not path.exists():
        return "test"  # whoever reads the run will say what is missing
    return "test" if _read_json(path, folder, ("splits",))["splits"]["test"]["labelled"] else "validation"


def read_run(folder: Path, split: str = "test") -> Run:
    """Read a run that `dferc train`, `evaluate` or `baselines` finished.

    Raises:
        InputError: a file is missing, damaged or of another evaluation than the others, or the split has no label.
    """
    metrics = _read_json(folder / "metrics.json", folder, ("card", "seeds"))
    card = _read_json(folder / "evaluate/protocol.json", folder, ("card", "protocol", "classes", "splits"))
    path = folder / "evaluate/predictions.csv"
    if metrics["card"] != card["card"]:
        raise InputError(
            f"{folder}: metrics.json is of protocol card {metrics['card']}, evaluate/protocol.json of {card['card']}. "
            f"{_mend(folder)}"
        )
    labelled = card["splits"][split]["labelled"]
    if not labelled:
        raise InputError(f"{folder}: the {split} split has no labelled utterance, so there is nothing to compare.")
    by_seed = _read_predictions(path, split, tuple(card["classes"]), folder)
    first = next(iter(by_seed.values()), {})
    short = [seed for seed, rows in by_seed.items() if rows.keys() != first.keys() or len(rows) != labelled]
    if short or len(by_seed) != metrics["seeds"]:
        raise InputError(
            f"{path}: expected {metrics['seeds']} seed(s) of {labelled} labelled {split} utterances each, found "
            f"{', '.join(f'seed {seed} with {len(rows)}' for seed, rows in by_seed.items()) or 'none'}. {_mend(folder)}"
        )
    run = _arrange(folder, split, card, by_seed)
    kept, found = metrics[split]["weighted_f1"], run.scores.weighted_f1.mean()
    if abs(kept - found) > ROUNDING:
        raise InputError(
            f"{folder}: metrics.json says weighted F1 {kept} on {split}, its predictions give {found:.6f}: they are of "
            f"two evaluations. {_mend(folder)}"
        )
    return run


def _mend(folder: Path) -> str:
    return f"Score it again: `dferc evaluate` or `dferc baselines` for {folder.name}."


def _read_json(path: Path, folder: Path, keys: tuple[str, ...]) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        within = sorted(str(found.parent) for found in folder.glob("**/metrics.json"))
        hint = f"Runs below it: {', '.join(within)}." if within else _mend(folder)
        raise InputError(f"{path} is missing: {folder} is no finished run. {hint}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable JSON ({error}). {_mend(folder)}") from error
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing:
        raise InputError(f"{path} does not say {', '.join(missing)}: it is of another version or tool. {_mend(folder)}")
    return found


def _read_predictions(path: Path, split: str, classes: tuple[str, ...], folder: Path) -> dict[int, dict[str, tuple]]:
    """Seed -> utterance -> dialogue, label, prediction and probabilities of the labelled rows of a split."""
    if not path.exists():
        raise InputError(f"{path} is missing: {folder} is half-written. {_mend(folder)}")
    number = {emotion: at for at, emotion in enumerate(classes)}
    found: dict[int, dict[str, tuple]] = defaultdict(dict)
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            missing = {*NEEDED, *(f"p_{each}" for each in classes)} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"no column {', '.join(sorted(missing))}")
            for row in reader:
                if row["split"] == split and row["emotion"]:
                    probabilities = [float(row[f"p_{each}"]) for each in classes]
                    values = row["dialogue_id"], number[row["emotion"]], number[row["predicted"]], probabilities
                    if found[int(row["seed"])].setdefault(row["utterance_id"], values) is not values:
                        raise InputError(f"{row['utterance_id']} is there twice for seed {row['seed']}")
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            what = str(error) if isinstance(error, InputError) else f"no row of predictions ({error!r})"
            raise InputError(f"{path}, line {reader.line_num}: {what}. {_mend(folder)}") from error
    return dict(sorted(found.items()))


def _arrange(folder: Path, split: str, card: Mapping, by_seed: Mapping[int, Mapping]) -> Run:
    """Arrays, in the order of utterance ids: the card's hash does not fix the order of dialogues."""
    ids = sorted(next(iter(by_seed.values())))
    rows = [[of_seed[name] for name in ids] for of_seed in by_seed.values()]
    return Run(
        folder=folder,
        split=split,
        card=card,
        classes=tuple(card["classes"]),
        seeds=tuple(by_seed),
        utterance_id=np.array(ids, dtype=object),
        dialogue_N=np.unique([row[0] for row in rows[0]], return_inverse=True)[1],
        actual_N=np.array([row[1] for row in rows[0]]),
        predicted_SN=np.array([[row[2] for row in of_seed] for of_seed in rows]),
        probability_SNC=np.array([[row[3] for row in of_seed] for of_seed in rows]),
    )


# ---------------------------------------------------------------------------------------------------- several runs


def read_runs(folder: Path, split: str, reference: str) -> tuple[dict[str, Run], list[str]]:
    """Read every finished run of a corpus, in the paper's order, classes numbered as the reference's.

    Args:
        folder: runs/<corpus>.
        split: which to read.
        reference: the name of the run that must be there.

    Returns:
        The runs by name, and a sentence for each that is left out because it is not finished.

    Raises:
        InputError: the reference is not there or not finished, or two runs follow different protocols.
    """
    names = sorted((path.name for path in folder.glob("*/") if not path.name.startswith(".")), key=_place)
    if reference not in names:
        close = difflib.get_close_matches(reference, names, n=3) or names
        raise InputError(f"{folder} has no run {reference!r}. Choose one of: {', '.join(close) or 'none'}.")
    first, notes = read_run(folder / reference, split), []
    runs = {}
    for name in names:
        try:
            found = first if name == reference else read_run(folder / name, split)
        except InputError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            runs[name] = align(found, first)
    return runs, notes


def _place(name: str) -> tuple[int, str]:
    """The paper's order, then baselines and trials by name."""
    return (list(VARIANTS).index(name) if name in VARIANTS else len(VARIANTS), name)


def align(run: Run, reference: Run) -> Run:
    """`run` with its classes numbered as the reference's, which the card's hash leaves open.

    Raises:
        InputError: they follow different protocols; the message shows both cards.
    """
    if run.card["card"] != reference.card["card"]:
        cards = "\n".join(f"  - {each.folder}: {describe_card(each.card)}" for each in (reference, run))
        raise InputError(
            f"{reference.folder} and {run.folder} follow different protocols; their scores must not be compared:\n"
            f"{cards}\nTrain and score both on the same labels and splits."
        )
    number_C = np.array([reference.classes.index(emotion) for emotion in run.classes])
    return replace(
        run,
        classes=reference.classes,
        actual_N=number_C[run.actual_N],
        predicted_SN=number_C[run.predicted_SN],
        probability_SNC=run.probability_SNC[..., np.argsort(number_C)],
    )


def describe_card(card: Mapping) -> str:
    """A protocol card in one line."""
    splits = (f"{name} {each['labelled']} in {each['dialogues']}" for name, each in card["splits"].items())
    return (
        f"card {card['card']}: {card['protocol']}; classes {', '.join(card['classes'])}; "
        f"labelled utterances in dialogues: {', '.join(splits)}"
    )
