"""The linear floor, blended in (`train.linear_blend`, docs/plus.md): a head that has learnt little does little harm.

    logits = a * head + b * floor,   floor = sum_m W_m x_m + c  over the present modalities

The floor is a logistic regression, fitted on the training rows before the first epoch, with the strength of
regularisation that validation selects, as in `dferc.evaluation.floor`. The head is trained as without it. Then a and b,
two numbers, are those of the least negative log-likelihood on validation; a is 0 where a split of that size might not
show the head above the floor.

Shapes: N utterances, M modalities, D width of a modality, S sum of the widths, C classes.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dferc.core.errors import InputError
from dferc.core.metrics import score_labels

LARGEST_WEIGHT = 10.0  # as the inverse of the smallest temperature, roughly: without an error they would grow for ever

SURE = 1.645  # standard errors by which a head must be better than the floor alone to be heard: 19 splits of 20 show it

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # C, the inverse of the regularisation's strength

BLEND = "extras.blend"
"""Name of (a, b) in the state of a model."""


class LinearFit(NamedTuple):
    """A fitted logistic regression: its logits are x W' + c."""

    weight_CS: Tensor  # W, 0 for a class without a training row
    bias_C: Tensor  # c
    strength: float  # C, the inverse of the regularisation's strength; not the number of classes


class LinearFloor(nn.Module):
    """Logits of a fitted logistic regression; without a fit they are 0.

    Args:
        widths: modality -> D, in the order of M.
        classes: C.
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__()
        self.modalities = tuple(widths)
        # Buffers: saved with the model, and not trained.
        self.register_buffer("weight", torch.zeros(classes, sum(widths.values())))
        self.register_buffer("bias", torch.zeros(classes))

    def take(self, fit: LinearFit) -> None:
        """Copy the weights of a fit."""
        self.weight.copy_(fit.weight_CS)
        self.bias.copy_(fit.bias_C)

    def forward(self, features: Mapping[str, Tensor], present_MN: Tensor) -> Tensor:
        """Return logits [N, C]; an absent modality adds nothing."""
        return nn.functional.linear(side_by_side(features, present_MN, self.modalities), self.weight, self.bias)


def side_by_side(features: Mapping[str, Tensor], present_MN: Tensor, modalities: Sequence[str]) -> Tensor:
    """Concatenate the modalities of each utterance, zeros where absent, [N, S]."""
    pairs = zip(modalities, present_MN, strict=True)
    return torch.cat([features[name] * present_N.unsqueeze(1) for name, present_N in pairs], dim=1)


def fit_floor(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None,
    classes: int,
    strength: float | None = None,
    select_by: str = "weighted_f1",
) -> LinearFit:
    """Fit the regression, with the strength that validation selects of `GRID` (of equals the likeliest), or the given.

    Args:
        train: normalised features [N, S] and class ids [N], -1 = unlabelled.
        validation: the same; not read where `strength` is given.
        classes: C.
        strength: as in `LinearFit`.
        select_by: score of `dferc.core.metrics.SCORES` by which validation selects.

    Returns:
        The fit. A class without a training row has the weights 0, and a bias as if it were seen once in N + 1 rows at
        most: the regression says nothing about it, the head may.

    Raises:
        InputError: the training rows have a single class.
    """
    from sklearn.exceptions import ConvergenceWarning  # a second of imports, which other runs need not wait for
    from sklearn.linear_model import LogisticRegression

    x_NS, y_N = _labelled(*train)
    held_NS, held_N = (None, None) if strength else _labelled(*validation)
    if len(set(y_N)) < 2:
        raise InputError(
            "train.linear_blend fits a linear classifier first, and the training split has a single class. Label rows "
            "of another class, or train a variant without it (--variant full)."
        )
    # Each starts from the one before, which saves two thirds of the iterations.
    model, best, highest = LogisticRegression(max_iter=300, warm_start=True), None, (-1.0, 0.0)
    with warnings.catch_warnings():  # a fit stopped at max_iter is a floor too, and usually the better one
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in (strength,) if strength else GRID:
            model.set_params(C=c).fit(x_NS, y_N)
            reached = (0.0, 0.0) if strength else _score(model, held_NS, held_N, classes, select_by)
            if reached > highest:
                best, highest = (model.coef_.copy(), model.intercept_.copy(), c), reached
    coefficients, intercepts, chosen = best
    if len(model.classes_) == 2:  # scikit-learn keeps the second class' row alone
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.r_[-intercepts, intercepts] / 2
    weight, bias = np.zeros((classes, x_NS.shape[1])), np.full(classes, intercepts.min() - math.log(len(y_N) + 1))
    weight[model.classes_], bias[model.classes_] = coefficients, intercepts
    return LinearFit(torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), chosen)


def _score(model: Any, x_NS: np.ndarray, labels_N: np.ndarray, classes: int, select_by: str) -> tuple[float, float]:
    """Return the score, and the log-likelihood of the classes that training has: few rows give many equal scores."""
    log_p_NC = np.zeros((len(x_NS), classes))
    log_p_NC[:, model.classes_] = model.predict_log_proba(x_NS)
    score = float(getattr(score_labels(labels_N, model.predict(x_NS), classes), select_by))
    return score, float(np.take_along_axis(log_p_NC, labels_N[:, None], axis=1).sum())


def _labelled(x_NS: Tensor, labels_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labelled_N = labels_N >= 0
    return x_NS[labelled_N].double().cpu().numpy(), labels_N[labelled_N].cpu().numpy()


def fit_blend(head_NC: np.ndarray, floor_NC: np.ndarray, labels_N: np.ndarray) -> Tensor:
    """Return (a, b) of the least negative log-likelihood of the labelled rows, a convex problem.

    a is 0 unless the head raises the mean probability of the true class, which is the rate of right decisions as the
    model expects it, by more than `SURE` standard errors of the change in right decisions. A gain that is sure and
    small would be lost in the scatter of the scores: on many a test split the floor alone would be better.

    Args:
        head_NC: logits of the trained head.
        floor_NC: logits of the linear floor.
        labels_N: class ids, -1 = unlabelled.
    """
    from scipy.optimize import minimize

    labelled_N = labels_N >= 0
    labels_N = labels_N[labelled_N]
    z_2NC = np.stack([head_NC[labelled_N], floor_NC[labelled_N]]).astype(np.float64)
    truth_NC = np.eye(z_2NC.shape[2])[labels_N]

    def log_p(weights_2: np.ndarray) -> np.ndarray:
        logits_NC = np.tensordot(weights_2, z_2NC, axes=1)
        logits_NC -= logits_NC.max(axis=1, keepdims=True)
        return logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True))

    def loss(weights_2: np.ndarray) -> tuple[float, np.ndarray]:
        log_p_NC = log_p(weights_2)
        slope_2 = ((np.exp(log_p_NC) - truth_NC) * z_2NC).sum(axis=2).mean(axis=1)
        return float(-(log_p_NC * truth_NC).sum(axis=1).mean()), slope_2

    def fit(start: float, largest: float) -> np.ndarray:
        # Where neither knows anything both would be 0, and all classes alike: the floor then decides.
        bounds = [(0, largest), (1e-3, LARGEST_WEIGHT)]
        return minimize(loss, (start, 0.5), jac=True, method="L-BFGS-B", bounds=bounds).x

    both_2, alone_2 = fit(0.5, LARGEST_WEIGHT), fit(0.0, 0.0)
    both_NC, alone_NC = log_p(both_2), log_p(alone_2)
    gain = ((np.exp(both_NC) - np.exp(alone_NC)) * truth_NC).sum(axis=1).mean()
    change_N = (both_NC.argmax(axis=1) == labels_N).astype(float) - (alone_NC.argmax(axis=1) == labels_N)
    deviation = change_N.std() or 1.0  # about 0 where all rows change alike: one row has no scatter, and shows nothing
    is_sure = change_N.any() and gain > SURE * deviation / math.sqrt(len(change_N))
    return torch.from_numpy(both_2 if is_sure else alone_2).float()
