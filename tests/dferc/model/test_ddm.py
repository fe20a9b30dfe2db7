"""M modalities, N utterances, H hidden; checked against a naive double loop over explicit pairs."""

import math

import pytest
import torch
from torch.nn import functional as F

from dferc.model import ddm
from dferc.model.ddm import Disentanglement, modality_contrast, supervised_contrast, utterance_contrast


def naive_contrast(x_MNH, present_MN, positives, temperature):
    """Compute the definition, row by row: `positives` is the dimension along which positives lie."""
    rows = [(m, n) for m in range(x_MNH.shape[0]) for n in range(x_MNH.shape[1]) if present_MN[m, n]]
    z = {row: F.normalize(x_MNH[row], dim=0) for row in rows}
    per_anchor = []
    for i in rows:
        others = [k for k in rows if k != i]
        same = [k for k in others if k[1 - positives] == i[1 - positives]]
        if same:
            s = {k: z[i] @ z[k] / temperature for k in others}
            normaliser = torch.logsumexp(torch.stack(list(s.values())), 0)
            per_anchor.append(-torch.stack([s[k] - normaliser for k in same]).mean())
    return temperature * torch.stack(per_anchor).mean() if per_anchor else torch.zeros(())


@pytest.mark.parametrize("positives", [0, 1])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("block", [4, 1024])
def test_contrast_equals_the_naive_double_loop(positives, temperature, absent, block, monkeypatch):
    monkeypatch.setattr(ddm, "BLOCK", block)
    torch.manual_seed(1)
    x = torch.randn(3, 5, 4, dtype=torch.double).requires_grad_()
    present = torch.rand(3, 5) >= absent
    ours = supervised_contrast(x, present, positives=positives, temperature=temperature)
    naive = naive_contrast(x, present, positives, temperature)
    torch.testing.assert_close(ours.double(), naive, rtol=1e-5, atol=1e-6)
    for mine, reference in zip(torch.autograd.grad(ours, x), torch.autograd.grad(naive, x)):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-6)


def test_contrast_by_hand():
    """Two utterances, two modalities, all four rows orthogonal: every s is 0, so log p = -log 3, and the loss log 3."""
    x = torch.eye(4).view(2, 2, 4)
    loss = supervised_contrast(x, torch.ones(2, 2, dtype=torch.bool), positives=1, temperature=1.0)
    assert loss.item() == pytest.approx(math.log(3), abs=1e-6)


@pytest.mark.parametrize("present", [torch.zeros(3, 4, dtype=torch.bool), torch.eye(3, 4, dtype=torch.bool)])
def test_contrast_without_positives_is_zero_and_differentiable(present):
    x = torch.randn(3, 4, 5, requires_grad=True)
    loss = modality_contrast(x, present, 1.0) + utterance_contrast(x, present, 1.0)
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()


def test_contrast_ignores_absent_rows():
    torch.manual_seed(0)
    x, present = torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool)
    present[1, 2] = False
    changed = x.clone()
    changed[1, 2] = 100
    for loss in (modality_contrast, utterance_contrast):
        assert loss(x, present, 1.0) == loss(changed, present, 1.0)


def test_contrast_does_not_depend_on_the_order_of_utterances():
    torch.manual_seed(0)
    x, present, order = torch.randn(3, 6, 5), torch.rand(3, 6) > 0.2, torch.randperm(6)
    for loss in (modality_contrast, utterance_contrast):
        torch.testing.assert_close(loss(x, present, 1.0), loss(x[:, order], present[:, order], 1.0))


def test_modality_contrast_of_one_modality_does_not_collapse_it():
    x = torch.randn(3, 4, 5, requires_grad=True)
    only_text = torch.tensor([True, False, False]).unsqueeze(1).expand(3, 4)
    modality_contrast(x, only_text, 1.0).backward()
    assert (x.grad == 0).all()


def test_levels_that_are_switched_off_pass_their_input_on():
    torch.manual_seed(0)
    h = torch.randn(3, 4, 5)
    a, u, r = Disentanglement(modalities=3, hidden=5, dropout=0.0, modality_level=True, utterance_level=True)(h)
    torch.testing.assert_close(r, a + u)
    a, u, r = Disentanglement(modalities=3, hidden=5, dropout=0.0, modality_level=True, utterance_level=False)(h)
    assert u is None and torch.equal(r, a)
    a, u, r = Disentanglement(modalities=3, hidden=5, dropout=0.0, modality_level=False, utterance_level=True)(h)
    assert a is None and torch.equal(r, u)
    a, u, r = Disentanglement(modalities=3, hidden=5, dropout=0.0, modality_level=False, utterance_level=False)(h)
    assert a is None and u is None and (r == 0).all()
