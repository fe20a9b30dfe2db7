"""Cached tensors on the device: a split is read once, an epoch is a permutation of dialogues and index slices.

N utterances, M modalities, D width of a modality, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dferc.core.errors import InputError, listed
from dferc.model.layers.lstm import Layout
from dferc.store.rows import CachedCorpus, Features, Utterances

MIN_VARIATION = 1e-6  # least standard deviation, as a share of the values' size: float32 keeps 6e-8
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
UNVARYING = 1e30  # scale of a feature that does not vary in training: its values in other rows become nothing
SPEAKER_PRIOR = 10  # rows that the corpus' statistics count for, against those of a speaker


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and scale of every feature over the present training rows; stored in the checkpoint.

    Attributes:
        mean: modality -> [D].
        scale: modality -> [D]; `UNVARYING` for a feature that does not vary.
        by_speaker: whether `normalise_speakers` follows; its statistics are those of the rows at hand, and not stored.
    """

    mean: Mapping[str, Tensor]
    scale: Mapping[str, Tensor]
    by_speaker: bool = False

    @staticmethod
    def of(corpus: CachedCorpus, modalities: Sequence[str], by_speaker: bool = False) -> "Normalisation":
        """Measure the training split; a modality without a present training row is left unchanged."""
        mean, scale = {}, {}
        for name in modalities:
            mean_D, deviation, varies = training_statistics(corpus, name)
            mean[name] = torch.from_numpy(mean_D.astype(np.float32))
            scale[name] = torch.from_numpy(np.where(varies, deviation, UNVARYING).astype(np.float32))
        return Normalisation(mean, scale, by_speaker)

    def apply(
        self, modality: Features, rows: np.ndarray | slice = slice(None), speaker_N: np.ndarray | None = None
    ) -> Tensor:
        """Return the normalised features [N, D] of these rows; absent rows become zeros.

        Args:
            modality: its features of the whole corpus.
            rows: rows of one split.
            speaker_N: speakers of these rows, "" = no name; needed `by_speaker`.
        """
        x_ND = torch.from_numpy(modality.features[rows]) - self.mean[modality.modality]
        x_ND = x_ND / self.scale[modality.modality]
        for block in modality.blocks:
            x_ND[:, block.columns] *= torch.from_numpy(block.present[rows]).unsqueeze(-1)
            if self.by_speaker:
                normalise_speakers(x_ND[:, block.columns], block.present[rows], speaker_N)
        return x_ND

    def state(self) -> dict[str, Tensor]:
        """Return the statistics as tensors by name, for a checkpoint."""
        return {f"{part}.{name}": tensor for part in ("mean", "scale") for name, tensor in getattr(self, part).items()}

    @staticmethod
    def from_state(state: Mapping[str, Tensor], by_speaker: bool = False) -> "Normalisation":
        """Rebuild the statistics from `state`."""
        parts = {"mean": {}, "scale": {}}
        for key, tensor in state.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor
        return Normalisation(**parts, by_speaker=by_speaker)


def normalise_speakers(x_ND: Tensor, present_N: np.ndarray, speaker_N: np.ndarray) -> None:
    """Replace z-scores by those within each speaker's present rows, in place; rows without a speaker stay.

    Mean and variance are weighted with the corpus' 0 and 1, which count as `SPEAKER_PRIOR` rows: a speaker of one row
    keeps most of it.
    """
    for speaker in sorted(set(speaker_N[present_N]) - {""}):
        rows = torch.from_numpy(np.flatnonzero(present_N & (speaker_N == speaker)))
        own_ND = x_ND[rows].double()
        weight = len(rows) / (len(rows) + SPEAKER_PRIOR)
        variance_D = weight * own_ND.var(dim=0, correction=0) + 1 - weight
        x_ND[rows] = ((own_ND - weight * own_ND.mean(dim=0)) / variance_D.sqrt()).to(x_ND.dtype)


def describe_transduction(settings: Mapping) -> str:
    """Return how scores by these `train` settings use the rows they are scored on; empty where they do not."""
    if settings.get("normalisation") != "speaker":
        return ""
    return "transductive: features are z-scored per speaker with statistics of the rows that are scored, without labels"


def training_statistics(corpus: CachedCorpus, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean [D], standard deviation [D], and which features vary [D] over the present training rows.

    A feature that hardly varies in training carries nothing, and dividing by its scale would blow up noise. "Hardly" is
    a millionth of the feature's mean, or of the modality's unit: openSMILE has features that differ by rounding only.
    """
    features, training_N = corpus.modalities[modality], corpus.utterances.split == "train"
    statistics = [
        _statistics(features.features[:, block.columns][training_N & block.present]) for block in features.blocks
    ]
    return tuple(map(np.concatenate, zip(*statistics, strict=True)))


def _statistics(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `training_statistics` of present training rows."""
    rows = rows.astype(np.float64)
    if len(rows) == 0:
        rows = np.stack([-np.ones(rows.shape[1]), np.ones(rows.shape[1])])
    mean_D = rows.mean(axis=0)
    unit = min(1.0, float(np.sqrt(np.vdot(rows, rows) / max(1, rows.size))))  # root mean square; 1 for larger values
    rows -= mean_D  # in place, as all of the next: MELD's text alone has 80 MB in double precision
    deviation_D = np.sqrt(np.square(rows, out=rows).mean(axis=0))
    least_D = np.maximum(SMALLEST_SCALE, MIN_VARIATION * np.maximum(unit, np.abs(mean_D)))
    return mean_D, deviation_D, deviation_D > least_D


def describe_unvarying(corpus: CachedCorpus, modalities: Sequence[str]) -> list[str]:
    """Return a sentence for each modality that has features which do not vary in training."""
    sentences = []
    for name in modalities:
        features, columns = corpus.modalities[name], np.flatnonzero(~training_statistics(corpus, name)[2])
        if len(columns):
            names = [features.names[column] for column in columns] if features.names else columns
            sentences.append(
                f"{name}: {len(columns)} of {features.width} features do not vary in training and carry "
                f"nothing: {listed(names, 5)}"
            )
    return sentences


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole dialogues, one after another.

    Attributes:
        features: modality -> [N, D].
        present_MN: bool.
        labels_N: class ids, -1 = unlabelled.
        rows_N: row of each utterance in the corpus, on the device.
        speaker_N: number of the speaker within its dialogue, by first appearance; -1 = unknown.
        layout: dialogues of the rows.
        targets_NC: shares of the annotators' votes, or one-hot labels where a row has none; None = labels are learnt.
    """

    features: dict[str, Tensor]
    present_MN: Tensor
    labels_N: Tensor
    rows_N: Tensor
    speaker_N: Tensor
    layout: Layout
    targets_NC: Tensor | None = None


class Dialogues:
    """The dialogues of one split, as tensors on the device.

    Args:
        corpus: verified features.
        split: train, validation or test.
        normalisation: statistics of the training split.
        modalities: modalities to read, in order.
        device: device of the tensors.
        votes: whether batches have targets, from the annotators' votes.

    Raises:
        InputError: the split has no dialogue, or the corpus lacks a modality.
    """

    def __init__(
        self,
        corpus: CachedCorpus,
        split: str,
        normalisation: Normalisation,
        modalities: Sequence[str],
        device: torch.device | str = "cpu",
        votes: bool = False,
    ):
        if missing := [name for name in modalities if name not in corpus.modalities]:
            raise InputError(
                f"{corpus.utterances.corpus} has no {', '.join(f'{name}.h5' for name in missing)}; it has "
                f"{', '.join(corpus.modalities)}. Extract it, or choose a variant without it."
            )
        rows = np.flatnonzero(corpus.utterances.split == split)
        if len(rows) == 0:
            raise InputError(f"{corpus.utterances.corpus} has no utterance in the {split} split.")
        ids = corpus.utterances.dialogue_id[rows]
        self.starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
        self.lengths = np.diff(np.r_[self.starts, len(rows)])
        self.device = torch.device(device)
        speaker_N = corpus.utterances.speaker[rows]
        self.features = {
            name: normalisation.apply(corpus.modalities[name], rows, speaker_N).to(device) for name in modalities
        }
        present = np.stack([corpus.modalities[name].present[rows] for name in modalities])
        self.present_MN = torch.from_numpy(present).to(device)
        self.labels_N = torch.from_numpy(corpus.utterances.emotion[rows].astype(np.int64)).to(device)
        self.rows_N = torch.from_numpy(rows).to(device)
        self.speaker_N = torch.from_numpy(corpus.utterances.speaker_order[rows]).to(device)
        self.targets_NC = torch.from_numpy(training_targets(corpus.utterances)[rows]).to(device) if votes else None

    def __len__(self) -> int:
        """Return the number of dialogues."""
        return len(self.lengths)

    def batches(self, batch_dialogues: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Yield every dialogue once, shuffled by the (CPU) generator if there is one.

        The split is permuted once; a batch is a set of views into it.
        """
        dialogues = np.arange(len(self))
        if generator is not None:
            dialogues = torch.randperm(len(self), generator=generator).numpy()
        lengths = self.lengths[dialogues]
        ends = np.cumsum(lengths)
        # Row of each utterance of the epoch: its dialogue's first row plus its place in the dialogue, [N]
        order = np.repeat(self.starts[dialogues] - (ends - lengths), lengths) + np.arange(ends[-1])
        order_N = torch.from_numpy(order).to(self.device, non_blocking=True)
        features = {name: x_ND[order_N] for name, x_ND in self.features.items()}
        present_MN, of_rows = self.present_MN[:, order_N], (self.labels_N, self.rows_N, self.speaker_N)
        labels_N, rows_N, speaker_N = (x_N[order_N] for x_N in of_rows)
        targets_NC = None if self.targets_NC is None else self.targets_NC[order_N]
        for first in range(0, len(self), batch_dialogues):
            of_batch = lengths[first : first + batch_dialogues]
            start = ends[first] - lengths[first]
            utterances = slice(start, start + of_batch.sum())
            yield Batch(
                features={name: x_ND[utterances] for name, x_ND in features.items()},
                present_MN=present_MN[:, utterances],
                labels_N=labels_N[utterances],
                rows_N=rows_N[utterances],
                speaker_N=speaker_N[utterances],
                layout=Layout.of(of_batch, self.device),
                targets_NC=None if targets_NC is None else targets_NC[utterances],
            )


def training_targets(rows: Utterances) -> np.ndarray:
    """Return the shares of the annotators' votes; one-hot labels of rows without, zeros of unlabelled ones: [N, C].

    Raises:
        InputError: no training row has votes.
    """
    if rows.votes is None or np.isnan(rows.votes[rows.split == "train"]).all():
        raise InputError(
            f"{rows.corpus}: train.labels is votes, and no utterance has any in training. Import a column `votes`, let "
            "the adapter read them (IEMOCAP: prepare.options.votes), or set train.labels=majority."
        )
    one_hot_NC = (rows.emotion[:, None] == np.arange(len(rows.classes))).astype(np.float32)
    given_N1 = ~np.isnan(rows.votes[:, :1]) & (rows.emotion[:, None] >= 0)
    return np.where(given_N1, rows.votes, one_hot_NC).astype(np.float32)
