"""Parity with the authors' own head: every number of every golden file, whatever its sizes and constants.

The files are in `$DFERC_GOLDEN`, by default `../shared/golden` beside the repository: inputs, weights, outputs, losses
and gradients of the authors' code.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dferc.model.ensemble import build_model
from dferc.model.layers.lstm import Layout
from dferc.model.losses import dferc_losses
from dferc.model.variants import VARIANTS
from dferc.settings.document import load_params
from dferc.store.vocabulary import MODALITIES

ROOT = Path(__file__).parents[1]
GOLDEN = Path(os.environ.get("DFERC_GOLDEN", ROOT.parent / "shared" / "golden"))
FILES = sorted(GOLDEN.glob("*.npz"))
BLOCKS = {
    "projection": "projections.{m}",
    "modality": "disentangle.modality",
    "utterance": "disentangle.utterance",
    "unimodal": "fuse.unimodal",
    "confidence": "fuse.confidence",
    "align": "align",
}
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def settings_of(meta: dict):
    """Return the golden file's constants under the names of params.yaml; no dropout, prototypes of this batch."""
    return (
        load_params(ROOT / "params.yaml")
        .corpus("meld")
        .train.model_copy(
            update=dict(
                hidden=meta["hidden"],
                align=meta["align"],
                dropout=0.0,
                context_dropout=0.0,
                recurrent_dropout=0.0,
                prototype_momentum=0.0,
                ddm_scale=meta["ddm_weight"],
                ddm_weight=meta["ddm_weight"],
                ddm_temperature=meta["ddm_temperature"],
                contribution_scale=meta["contribution_scale"],
                cfm_weight=meta["cfm_weight"],
                context_scale=meta["context_scale"],
                alignment_weight=meta["alignment_weight"],
                alignment_margin=meta["alignment_margin"],
            )
        )
    )


def parameter_of(model: torch.nn.Module, name: str) -> tuple[torch.nn.Parameter, int | tuple]:
    """Return our parameter for a golden name, and the index of the golden tensor within it."""
    block, *rest = name.split(".")
    parameters = dict(model.named_parameters())
    if block == "classifier":
        return parameters[f"refuse.classifier.{rest[0]}"], ...
    if block == "lstm":
        layer, key = rest
        direction = int(key.endswith("_reverse"))
        return parameters[f"refuse.lstm.layers.{layer}.{key.removesuffix('_reverse').removesuffix('_l0')}"], direction
    modality, kind = rest
    path = BLOCKS[block].format(m=modality)
    return parameters[f"{path}.{kind}"], ... if block == "projection" else MODALITIES.index(modality)


def laid_out(name: str, golden: np.ndarray) -> torch.Tensor:
    """Return a golden tensor in the layout of our parameters: the stacked layers' weights are [in, out]."""
    stacked = name.split(".")[0] in BLOCKS and not name.startswith("projection")
    return torch.from_numpy(golden.T if stacked else golden)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def golden(request):
    with np.load(request.param, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def run(golden: dict) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    meta = json.loads(str(golden["meta"]))
    settings = settings_of(meta)
    widths = {m: golden[f"in.{m}"].shape[1] for m in MODALITIES}
    model = build_model(settings, VARIANTS["full"], widths, meta["classes"])
    loaded = set()
    with torch.no_grad():
        for name in golden:
            if name.startswith("weight."):
                parameter, index = parameter_of(model, name.removeprefix("weight."))
                parameter[index] = laid_out(name.removeprefix("weight."), golden[name])
                loaded.add(id(parameter))
    assert loaded == {id(parameter) for parameter in model.parameters()}

    features = {m: torch.from_numpy(golden[f"in.{m}"]) for m in MODALITIES}
    labels = torch.from_numpy(golden["in.labels"])
    present = torch.ones(3, len(labels), dtype=torch.bool)
    weights = torch.tensor([1.0] + [meta["non_first_class_weight"]] * (meta["classes"] - 1))
    outputs = model(features, present, Layout.of(golden["in.lengths"].tolist()))
    losses = dferc_losses(
        outputs,
        labels,
        present,
        prototypes=model.prototypes,
        settings=settings,
        variant=VARIANTS["full"],
        class_weights_C=weights,
    )
    losses.total.backward()
    found = {f"{m}_rep": outputs.disentangled_MNH[i] for i, m in enumerate(MODALITIES)} | {
        "loss_ddm": losses.ddm,
        "loss_cfm": losses.cfm,
        "loss_align": losses.alignment,
        "loss_ce": losses.classification,
        "loss": losses.total,
        "contribution": outputs.contribution_MN.T,
        "similarity": outputs.agreement_N,
        "refused": outputs.classified_NK,
        "logits": outputs.logits_NC,
    }
    return model, found


@pytest.mark.skipif(not FILES, reason=f"no golden file in {GOLDEN}")
def test_outputs_and_losses_match_the_authors(golden):
    _, found = run(golden)
    expected = {name.removeprefix("out."): value for name, value in golden.items() if name.startswith("out.")}
    assert set(expected) <= set(found)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].detach().numpy(), value, **TOLERANCE, err_msg=name)


@pytest.mark.skipif(not FILES, reason=f"no golden file in {GOLDEN}")
def test_gradients_match_the_authors(golden):
    model, _ = run(golden)
    norms = {name.removeprefix("grad_norm."): value for name, value in golden.items() if name.startswith("grad_norm.")}
    assert norms
    for name, value in norms.items():
        parameter, index = parameter_of(model, name)
        np.testing.assert_allclose(parameter.grad[index].norm().item(), value, **TOLERANCE, err_msg=name)
