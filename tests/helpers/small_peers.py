"""Peers of other sizes than their papers', which train in a moment."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dferc.baselines import registry

SIZES = {
    "dialogue_rnn": {"state": 8, "emotion": 6, "hidden": 5},
    "mmgcn": {"units": 6, "graph": 5, "layers": 2},
    "sdt": {"hidden": 8, "heads": 2},
}


@contextmanager
def small_peers(epochs: int = 4) -> Iterator[None]:
    """Replace the recipes of the peers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, small in SIZES.items():
            baseline = registry.TRAINED[name]
            paper = baseline.recipes["iemocap"]
            recipe = dataclasses.replace(
                paper,
                learning_rate=0.02,
                batch_dialogues=8,
                epochs=epochs,
                sizes=paper.sizes | small | {"dropout": 0.1},
            )
            patch.setitem(registry.TRAINED, name, baseline._replace(recipes={"iemocap": recipe}))
        yield
