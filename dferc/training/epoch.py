"""An epoch of training: everything on the device, no host sync inside a step (METHOD §6)."""

import torch

from dferc.model.dferc import DFERC, Outputs
from dferc.model.losses import Losses, dferc_losses
from dferc.store.vocabulary import SPLITS
from dferc.training.data import Batch
from dferc.training.optimiser import Machinery
from dferc.training.tally import Scores, Tally
from dferc.training.task import Task


def train_epoch(machinery: Machinery, task: Task) -> Tally:
    """One pass over the training split; nothing in it waits for the device."""
    model, (device, dtype, _) = machinery.model, task.device
    trained = Tally(task.classes, device)
    model.train()
    for batch in task.train.batches(task.settings.batch_dialogues, generator=machinery.order):
        machinery.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            outputs, losses = forward(model, batch, task)
        machinery.step(losses.total, task.settings.clip_norm)
        trained.add(losses, outputs.logits_NC, batch.labels_N)
    return trained


def forward(model: DFERC, batch: Batch, task: Task) -> tuple[Outputs, Losses]:
    """One batch through the model and its losses; in training mode the prototypes learn from it."""
    outputs = model(batch.features, batch.present_MN, batch.layout)
    losses = dferc_losses(
        outputs,
        batch.labels_N,
        batch.present_MN,
        prototypes=model.prototypes,
        settings=task.settings,
        variant=task.variant,
        class_weights_C=task.class_weights_C,
    )
    return outputs, losses


@torch.no_grad()
def validate(model: DFERC, task: Task) -> Tally:
    """One pass over the validation split, in float32, in batches as in training (contrastive losses depend on them)."""
    tally = Tally(task.classes, task.device.device)
    model.eval()
    for batch in task.validation.batches(task.settings.batch_dialogues):
        outputs, losses = forward(model, batch, task)
        tally.add(losses, outputs.logits_NC, batch.labels_N)
    return tally


def flatten(trained: Scores, validated: Scores) -> dict[str, float]:
    """One row of history.csv: `<split>_<score>`, with the total loss as `<split>_loss`."""
    row = {}
    for split, scores in zip(SPLITS, (trained, validated), strict=False):
        terms = scores.losses._asdict()
        row[f"{split}_loss"] = terms.pop("total")
        row |= {f"{split}_{term}": value for term, value in terms.items()}
        row |= {f"{split}_accuracy": scores.accuracy, f"{split}_weighted_f1": scores.weighted_f1}
    return row
