"""Every baseline by name: the one list that the command, `dvc.yaml`, the documentation and the tests read."""

from dferc.baselines.bc_lstm import BC_LSTM, LATE_FUSION
from dferc.baselines.deterministic import logistic, majority
from dferc.baselines.dialogue_rnn import DIALOGUE_RNN
from dferc.baselines.mmgcn import MMGCN_BASELINE
from dferc.baselines.sdt import SDT_BASELINE
from dferc.baselines.shared import TrainedBaseline
from dferc.core.errors import InputError, did_you_mean

DETERMINISTIC = {"majority": majority, "logistic": logistic}
"""Baselines without chance: the corpus, its modalities and whether to fit anew on training and validation
(`train.selection: refit`) -> probabilities [N, C] of all its utterances."""

TRAINED: dict[str, TrainedBaseline] = {
    "bc_lstm": BC_LSTM,
    "late_fusion": LATE_FUSION,
    "dialogue_rnn": DIALOGUE_RNN,
    "mmgcn": MMGCN_BASELINE,
    "sdt": SDT_BASELINE,
}
"""Baselines that are trained once per seed."""

BASELINES = (*DETERMINISTIC, *TRAINED)
QUICK = tuple(name for name in BASELINES if name in DETERMINISTIC or not TRAINED[name].recipes)
"""Baselines that take no longer than DF-ERC itself: those of `dvc.yaml`, and of `dferc baselines` without a name."""


def verify_baseline(name: str) -> None:
    """Check that there is a baseline of that name."""
    if name not in BASELINES:
        raise InputError(
            f"There is no baseline {name!r}.{did_you_mean(name, BASELINES)} Baselines: {', '.join(BASELINES)}."
        )
