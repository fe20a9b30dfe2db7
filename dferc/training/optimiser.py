"""AdamW, its schedule, and all other state that a resumed run must restore (docs/method.md, §6)."""

import copy
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from dferc.core.threads import keep_freed_memory
from dferc.settings.sections import Train


class Machinery(NamedTuple):
    """Everything that changes from step to step, besides the global random generators."""

    model: torch.nn.Module
    optimiser: AdamW
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    order: torch.Generator
    """Draws the order of the dialogues; on the CPU."""
    clip: Callable[[Iterable[torch.nn.Parameter]], object]
    """Clips the gradients of the parameters."""
    average: "MovingAverage | None" = None

    @property
    def judged(self) -> torch.nn.Module:
        """Model that is validated and saved: the averaged one where there is one."""
        return self.average.model if self.average else self.model

    def state(self) -> dict:
        """Return all states, including those of the global generators (dropout); tensors are not copied."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimiser", "schedule", "scaler")}
        if self.average:
            state["average"] = {"model": self.average.model.state_dict(), "steps": self.average.steps}
        state |= {"order": self.order.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict) -> None:
        """Restore what `state` returned."""
        for name in ("model", "optimiser", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        if self.average:
            self.average.model.load_state_dict(state["average"]["model"])
            self.average.steps = state["average"]["steps"]
        self.order.set_state(state["order"])
        torch.set_rng_state(state["cpu"])
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"])


def make_machinery(model: torch.nn.Module, settings: Train, *, steps: int, seed: int, dtype: torch.dtype) -> Machinery:
    """Build a fresh optimiser, schedule, gradient scaler, dialogue order and moving average.

    Args:
        model: on its device already.
        settings: settings of the run.
        steps: number of steps of the whole run, for the schedule.
        seed: seed of the order of the dialogues.
        dtype: type of autocast; gradients are scaled for float16 only.
    """
    optimiser = make_optimiser(model, settings)
    device = next(model.parameters()).device.type
    if device == "cpu":
        keep_freed_memory(1 << 30)
    return Machinery(
        model=model,
        optimiser=optimiser,
        schedule=LambdaLR(optimiser, lambda step: rate_at(step, settings.warmup_steps, steps)),
        scaler=torch.amp.GradScaler(device, enabled=dtype == torch.float16),
        order=torch.Generator().manual_seed(seed),
        clip=partial(clip_gradients, max_norm=settings.clip_norm),
        average=MovingAverage(model, settings.weight_average) if settings.weight_average else None,
    )


class MovingAverage:
    """Weights averaged over the latest steps: w' = d w' + (1 - d) w after each, with d rising from 0 to `decay`.

    Their validation score moves less from epoch to epoch, so that luck decides less of the selection on a small
    validation split. Buffers (prototypes) are copied from the model.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Add the model's weights after a step."""
        self.steps += 1
        decay = min(self.decay, (self.steps - 1) / (self.steps + 9))  # the first steps forget the initialisation
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for own, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)


class EagerAdamW(AdamW):
    """AdamW without the decorators that import PyTorch's compiler: two seconds of each process that trains."""

    zero_grad, state_dict, load_state_dict, add_param_group = map(
        inspect.unwrap, (AdamW.zero_grad, AdamW.state_dict, AdamW.load_state_dict, AdamW.add_param_group)
    )
    step = torch.no_grad()(inspect.unwrap(AdamW.step))


def make_optimiser(model: torch.nn.Module, settings: Train) -> AdamW:
    """Build AdamW without weight decay on biases (by name: a bias per modality may be stacked into a matrix)."""
    biases, weights = [], []
    for name, parameter in model.named_parameters():
        (biases if "bias" in name.rsplit(".", 1)[-1] else weights).append(parameter)
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    # Fused: one kernel for all parameters, and the one kind that never asks the device about a skipped float16 step.
    return EagerAdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, fused=True)


@torch.no_grad()
def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that their common norm is at most `max_norm`; return the norm as it was, a scalar.

    `torch.nn.utils.clip_grad_norm_`, with the norm from dot products on the CPU: its own reduction takes three times as
    long there on gradients that no cache holds.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients[0].is_cuda:
        norm = get_total_norm(gradients)
    else:
        norm = torch.stack([torch.dot(each, each) for each in (g.flatten() for g in gradients)]).sum().sqrt()
    torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def rate_at(step: int, warmup: int, steps: int) -> float:
    """Return the share of the peak learning rate: a rise from 0 over `warmup` steps, then a fall to 0 at `steps`."""
    if step < warmup:
        return step / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))
