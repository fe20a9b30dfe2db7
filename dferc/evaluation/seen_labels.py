"""Search for features that have seen the labels: a linear model on training, held-out training and other dialogues.

An encoder that was trained on these very labels writes them into the features of its rows. A linear model then scores
as high on held-out training dialogues as on those it is fitted on, and far less on a split that the encoder never saw.
Scores are balanced accuracies (mean recall of the classes), which do not depend on how frequent a class is in a split.

N utterances, D width, C classes, G dialogues, B bootstrap samples, K singular values.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dferc.core.console import print_note, print_table
from dferc.store.rows import Features, Utterances
from dferc.store.vocabulary import SPLITS

MOST_ROWS = 2000
"""Labelled rows of a split, as whole dialogues drawn at random: more costs seconds, and decides nothing."""
LEAST_ROWS, LEAST_DIALOGUES = 10, 5  # of each class, and in all, in a split that is compared
FOLDS, SAMPLES = 10, 300
STRENGTHS = (0.03, 0.3, 3.0)  # of the ridge, in units of the mean squared singular value; held-out rows choose
FARTHEST = 10.0  # z-scores are clipped here: one outlying row must not carry a model
MARGIN, DEVIATIONS = 0.05, 4.0  # a drop counts if it is above the margin by this many of its standard deviations


class Honesty(NamedTuple):
    """Balanced accuracies of a linear model of one feature set, and what they show.

    Attributes:
        verdict: `seen`, `not seen` or `not checked`.
        detail: reason of the verdict.
        train: on the rows that it is fitted on; None where nothing was checked.
        held_out: on training dialogues that it is not fitted on (10 folds).
        splits: on validation and test, fitted on training; those with enough labels.
        own: on held-out dialogues of validation and test, fitted on the other dialogues of the same split.
        seen: splits whose labels the features seem to have seen.
    """

    verdict: str
    detail: str
    train: float | None = None
    held_out: float | None = None
    splits: Mapping[str, float] = {}
    own: Mapping[str, float] = {}
    seen: tuple[str, ...] = ()


def check_honesty(rows: Utterances, sets: Mapping[str, Features]) -> dict[str, Honesty]:
    """Check modalities or feature sets by name, in about a second each; the same features give the same numbers.

    Labels of the test split are read, and decide nothing but the verdict.
    """
    return {name: _check(rows, features) for name, features in sets.items()}


def _check(rows: Utterances, features: Features) -> Honesty:
    usable_N, random = (rows.emotion >= 0) & features.present, np.random.default_rng(0)
    drawn = {split: _draw(rows, usable_N & (rows.split == split), random) for split in SPLITS}
    drawn = {split: rows_N for split, rows_N in drawn.items() if len(set(rows.dialogue_id[rows_N])) >= LEAST_DIALOGUES}
    if "train" not in drawn or len(drawn) < 2:
        return Honesty("not checked", f"training, or both others, have fewer than {LEAST_DIALOGUES} labelled dialogues")
    counts_SC = [np.bincount(rows.emotion[rows_N], minlength=len(rows.classes)) for rows_N in drawn.values()]
    classes_C = np.flatnonzero(np.min(counts_SC, axis=0) >= LEAST_ROWS)
    if len(classes_C) < 2:
        return Honesty("not checked", f"fewer than two classes have {LEAST_ROWS} rows in each split")
    train, *others = (_Sample.of(rows, features, rows_N, classes_C) for rows_N in drawn.values())
    model, scores, own, dropped = _Ridge(train), {}, {}, []
    held_out = train.score(model.held_out_N, random)
    for split, sample in zip(list(drawn)[1:], others, strict=True):
        scores[split] = sample.score(model.predict(sample), random)
        own[split] = sample.score(_Ridge(sample).held_out_N, random)
        # Other speakers or microphones are hard for a model of the training rows, and not for one of the split's own.
        alike = train.first(len(sample.labels_N))
        fair = alike.score(_Ridge(alike).held_out_N, random)
        if _drops(held_out, scores[split]) and _drops(fair, own[split]):
            dropped.append(split)
    # A split whose drop is too uncertain to count (few dialogues) has been seen only if it scores as training does.
    least = (held_out.value + max((scores[split].value for split in dropped), default=0)) / 2
    like = {"train", *(split for split in scores if split not in dropped and scores[split].value > least)}
    seen = tuple(split for split in drawn if split in like) if dropped else ()
    return Honesty(
        verdict="seen" if seen else "not seen",
        detail=_explain(held_out.value, {split: scores[split].value for split in dropped}, seen),
        train=train.score(model.fitted_N, random).value,
        held_out=held_out.value,
        splits={split: score.value for split, score in scores.items()},
        own={split: score.value for split, score in own.items()},
        seen=seen,
    )


def _explain(held_out: float, dropped: Mapping[str, float], seen: tuple[str, ...]) -> str:
    if not seen:
        return "held-out training dialogues score about as the other splits do"
    lower = " and ".join(f"{value:.2f} on {split}" for split, value in dropped.items())
    if len(seen) > 1:
        effect = f"Models are selected on labels that the features know, and {seen[-1]} scores mean nothing."
    else:
        effect = "A fine-tuned encoder does so by design: a model trained here trusts this modality too much."
    return (
        f"held-out training dialogues {held_out:.2f}, {lower}: the encoder was probably trained on the labels of "
        f"{' and '.join(seen)}. {effect} Take an encoder that has not seen them, or report it."
    )


def show_honesty(honesty: Mapping[str, Honesty]) -> None:
    """Print the scores of every feature set, and a warning for each that has seen labels."""
    if not honesty:
        return
    print_table(*honesty_table(honesty), "balanced accuracy of a linear model: have the features seen the labels?")
    for name, found in honesty.items():
        if found.verdict != "not seen":
            label, style = ("SEEN LABELS", "bold red") if found.seen else ("note:", "bold yellow")
            print_note(f"{name}: {found.verdict}: {found.detail}", label, style)


def honesty_table(honesty: Mapping[str, Honesty]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows, one per feature set; – where nothing was computed."""
    rows = []
    for name, found in honesty.items():
        scores = (found.train, found.held_out, *(found.splits.get(split) for split in SPLITS[1:]))
        rows.append([name, *("–" if score is None else f"{score:.3f}" for score in scores), found.verdict])
    return ["features", "training", "training, held out", *SPLITS[1:], "labels"], rows


def _draw(rows: Utterances, usable_N: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return at most `MOST_ROWS` rows of whole dialogues in random order."""
    usable = np.flatnonzero(usable_N)
    starts = np.flatnonzero(np.r_[True, rows.dialogue_id[usable][1:] != rows.dialogue_id[usable][:-1]][: len(usable)])
    dialogues = np.split(usable, starts[1:])
    drawn = [dialogues[number] for number in random.permutation(len(dialogues))]
    ends = np.cumsum([len(dialogue) for dialogue in drawn])
    return np.concatenate(drawn[: max(1, int((ends <= MOST_ROWS).sum()))])


class _Score(NamedTuple):
    value: float
    samples_B: np.ndarray  # of dialogues drawn with replacement


def _drops(higher: _Score, lower: _Score) -> bool:
    """Return whether the difference exceeds the margin by far more than it varies with the dialogues."""
    spread = DEVIATIONS * float((higher.samples_B - lower.samples_B).std())
    return higher.value - lower.value - spread > MARGIN


class _Sample(NamedTuple):
    """Rows of a split, dialogue by dialogue in random order."""

    x_ND: np.ndarray
    labels_N: np.ndarray  # 0 to C - 1
    dialogue_N: np.ndarray  # number of each row's dialogue, rising
    classes: int

    @staticmethod
    def of(rows: Utterances, features: Features, rows_N: np.ndarray, classes_C: np.ndarray) -> "_Sample":
        rows_N = rows_N[np.isin(rows.emotion[rows_N], classes_C)]
        ids = rows.dialogue_id[rows_N]
        dialogue_N = np.cumsum(np.r_[0, ids[1:] != ids[:-1]])
        labels_N = np.searchsorted(classes_C, rows.emotion[rows_N])
        return _Sample(features.features[rows_N].astype(np.float64), labels_N, dialogue_N, len(classes_C))

    def first(self, count: int) -> "_Sample":
        """Return its first dialogues, of about `count` rows and at least `LEAST_DIALOGUES`."""
        last = max(LEAST_DIALOGUES - 1, self.dialogue_N[min(count, len(self.labels_N)) - 1])
        of_first = self.dialogue_N <= last
        return _Sample(self.x_ND[of_first], self.labels_N[of_first], self.dialogue_N[of_first], self.classes)

    def score(self, predicted_N: np.ndarray, random: np.random.Generator) -> _Score:
        """Return the balanced accuracy with its bootstrap by dialogue."""
        actual_GC = np.zeros((self.dialogue_N[-1] + 1, self.classes))
        hits_GC = actual_GC.copy()
        np.add.at(actual_GC, (self.dialogue_N, self.labels_N), 1.0)
        np.add.at(hits_GC, (self.dialogue_N, self.labels_N), predicted_N == self.labels_N)
        draws_BG = random.multinomial(len(actual_GC), np.full(len(actual_GC), 1 / len(actual_GC)), size=SAMPLES)
        value = float(_recall(hits_GC.sum(0), actual_GC.sum(0)))
        return _Score(value, _recall(draws_BG @ hits_GC, draws_BG @ actual_GC))


def _recall(hits_C: np.ndarray, actual_C: np.ndarray) -> np.ndarray:
    """Return the mean over the classes that are there, [...]."""
    there_C = actual_C > 0
    recall_C = np.divide(hits_C, actual_C, out=np.zeros_like(hits_C), where=there_C)
    return recall_C.sum(axis=-1) / np.maximum(1, there_C.sum(axis=-1))


class _Ridge:
    """Ridge regression onto one-hot labels, every class weighing the same; folds of dialogues in closed form.

    With the smoother H of the fit, the residuals of a fold g that is held out are (I - H_gg)^-1 (Y - HY)_g, so one
    decomposition serves all folds and strengths.
    """

    def __init__(self, sample: _Sample):
        self._mean_D, scale_D = sample.x_ND.mean(axis=0), sample.x_ND.std(axis=0)
        self._inverse_D = np.divide(1.0, scale_D, out=np.zeros_like(scale_D), where=scale_D > 1e-9 * abs(self._mean_D))
        count_C = np.bincount(sample.labels_N, minlength=sample.classes)
        weight_N1 = np.sqrt(1.0 / count_C[sample.labels_N])[:, None]
        a_ND, y_NC = weight_N1 * self._design(sample.x_ND), weight_N1 * np.eye(sample.classes)[sample.labels_N]
        wide = a_ND.shape[1] > len(a_ND)
        square_K, basis = np.linalg.eigh(a_ND @ a_ND.T if wide else a_ND.T @ a_ND)
        kept_K = square_K > 1e-10 * square_K[-1]
        square_K, basis = square_K[kept_K], basis[:, kept_K]
        u_NK = basis if wide else a_ND @ basis / np.sqrt(square_K)
        fold_N = sample.dialogue_N % min(FOLDS, sample.dialogue_N[-1] + 1)
        best = -1.0
        for strength in STRENGTHS:
            shrink_K = square_K / (square_K + strength * square_K.mean())
            fitted_NC = u_NK @ (shrink_K[:, None] * (u_NK.T @ y_NC))
            held_NC = np.empty_like(y_NC)
            for fold in range(fold_N.max() + 1):
                of_fold = fold_N == fold
                u_FK, residual_FC = u_NK[of_fold], (y_NC - fitted_NC)[of_fold]
                rest_FF = np.eye(len(u_FK)) - (u_FK * shrink_K) @ u_FK.T
                held_NC[of_fold] = y_NC[of_fold] - np.linalg.solve(rest_FF, residual_FC)
            held_out_N = held_NC.argmax(axis=1)  # weights of rows change no order
            hits_C = np.bincount(sample.labels_N, held_out_N == sample.labels_N, minlength=sample.classes)
            if (score := _recall(hits_C, count_C)) > best:
                best, self.held_out_N, self.fitted_N = score, held_out_N, fitted_NC.argmax(axis=1)
                self._weights_DC = a_ND.T @ (u_NK @ ((shrink_K / square_K)[:, None] * (u_NK.T @ y_NC)))

    def _design(self, x_ND: np.ndarray) -> np.ndarray:
        """Return z-scores and a constant, [N, D + 1]."""
        z_ND = np.clip((x_ND - self._mean_D) * self._inverse_D, -FARTHEST, FARTHEST) / np.sqrt(x_ND.shape[1])
        return np.concatenate([z_ND, np.ones((len(z_ND), 1))], axis=1)

    def predict(self, sample: _Sample) -> np.ndarray:
        """Return the predicted labels [N] of other rows."""
        return (self._design(sample.x_ND) @ self._weights_DC).argmax(axis=1)
