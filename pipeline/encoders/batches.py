"""Batches of inputs of mixed lengths, and the check that the other inputs of a batch change no vector.

Legend: T time steps of an input, D width.
"""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

WIDEST = 1.1  # maximum of longest / shortest input of a batch: keeps padding below 1 - 1/1.1 = 9.1 % of its steps
TOLERANCE = 1e-5  # largest difference that the batch may make, relative to the largest state where that is above 1


class Batching(StrEnum):
    """Inputs that an encoder may have in one batch."""

    PADDED = "padded"
    EQUAL = "equal lengths"
    SINGLE = "one by one"


def batches_by_length(lengths: Sequence[int], budget: int, batching: Batching = Batching.PADDED) -> list[list[int]]:
    """Group inputs of nearly equal length into batches of indices that cover every input once.

    In a padded batch the longest is at most `WIDEST` times the shortest, so padding stays below 10 %. Inputs are taken
    in order, so that full batches do not change when inputs are added at the end. A batch has at most `budget` steps,
    padding included; a longer input is a batch of its own.
    """
    if batching is Batching.SINGLE:
        return [[index] for index in range(len(lengths))]
    full: list[list[int]] = []
    filling: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        kind = length if batching is Batching.EQUAL else math.floor(math.log(max(length, 1)) / math.log(WIDEST))
        batch = filling.setdefault(kind, [])
        longest = max(length, *(lengths[other] for other in batch)) if batch else length
        if batch and longest * (len(batch) + 1) > budget:
            full.append(batch)
            batch = filling[kind] = []
        batch.append(index)
    return full + [filling[kind] for kind in sorted(filling)]


def run_in_batches(
    inputs: Sequence[Any],
    lengths: Sequence[int],
    budget: int,
    batching: Batching,
    encode: Callable[[list[Any]], Sequence[Any]],
) -> list[Any]:
    """Return the results of `encode`, one per input of a batch, in the order of the inputs; see `batches_by_length`."""
    results: list[Any] = [None] * len(inputs)
    for batch in batches_by_length(lengths, budget, batching):
        for index, result in zip(batch, encode([inputs[index] for index in batch]), strict=True):
            results[index] = result
    return results


@torch.inference_mode()
def check_batching(run: Callable[[list[Any]], Sequence[Tensor]], short: Any, other: Any, long: Any) -> Batching:
    """Try which batches leave the states of an encoder as they are.

    Args:
        run: returns the valid states [T, D] of each input of a batch, in float32 on the CPU.
        short: a short input.
        other: another one of the same length.
        long: a longer one.
    """
    (alone,) = run([short])
    if _same(run([short, long]), [alone, *run([long])]):
        return Batching.PADDED
    return Batching.EQUAL if _same(run([short, other]), [alone, *run([other])]) else Batching.SINGLE


def _same(states: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Return whether states are the same up to rounding."""
    for one, two in zip(states, expected, strict=True):
        largest = max(1.0, float(two.abs().max()))
        if one.shape != two.shape or not torch.allclose(one, two, rtol=0, atol=TOLERANCE * largest, equal_nan=True):
            return False
    return True
