"""Late fusion: a bc-LSTM per modality, each with its own loss; the mean of their probabilities decides."""

from dferc.baselines.bc_lstm import RecurrentBaseline, build_branches, recurrent_objective
from dferc.baselines.shared import TrainedBaseline
from dferc.training.task import Task


def build_late_fusion(task: Task) -> RecurrentBaseline:
    """Build a freshly initialised branch per modality; draws from the global generator."""
    return build_branches(task, [(name,) for name in task.variant.modalities])


LATE_FUSION = TrainedBaseline(build_late_fusion, recurrent_objective, {})
