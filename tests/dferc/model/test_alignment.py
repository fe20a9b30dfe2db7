import pytest
import torch
from torch.nn import functional as F

from dferc.model.alignment import Prototypes, agreement, alignment_loss


def everyone(shape):
    return torch.ones(shape, dtype=torch.bool)


def test_agreement_is_the_mean_cosine_of_the_present_pairs():
    torch.manual_seed(0)
    z, present = torch.randn(3, 4, 5), everyone((3, 4))
    present[2, 1] = present[1, 2] = present[2, 2] = False
    cosine = [F.cosine_similarity(z[a], z[b], dim=-1) for a, b in ((0, 1), (0, 2), (1, 2))]
    found = agreement(z, present)
    torch.testing.assert_close(found[0], (cosine[0] + cosine[1] + cosine[2])[0] / 3)
    torch.testing.assert_close(found[1], cosine[0][1])
    assert found[2] == 0  # one modality agrees with nothing: its context is let in


def test_agreement_is_detached():
    assert not agreement(torch.randn(3, 2, 5, requires_grad=True), everyone((3, 2))).requires_grad


def test_alignment_by_hand():
    """Class 0: z = (0), (2) -> P = 1, d = 1, 1; class 1: one utterance of one modality -> d = 0.

    One modality, margin 0.1: terms (0.9 + 0.9) / 2 = 0.9 and 0, so the loss is 0.45.
    """
    z, labels = torch.tensor([[[0.0], [2.0], [7.0]]]), torch.tensor([0, 0, 1])
    prototypes = Prototypes(classes=3, width=1, momentum=0.0)
    assert alignment_loss(z, labels, everyone((1, 3)), prototypes, 0.1).item() == pytest.approx(0.45)


def naive_alignment(z, labels, counted, margin):
    terms = []
    for k in labels.unique():
        members = [(m, n) for m in range(len(z)) for n in range(len(labels)) if counted[m, n] and labels[n] == k]
        prototype = torch.stack([z[row] for row in members]).mean(0)
        for m in range(len(z)):
            d = [F.relu((z[row] - prototype).square().mean() - margin) for row in members if row[0] == m]
            if d:
                terms.append(sum(d) / (sum(x > 0 for x in d) + 1e-13))
    return sum(terms) / len(terms)


def test_alignment_equals_the_naive_loop_with_absent_rows():
    torch.manual_seed(0)
    z, labels = torch.randn(3, 8, 4, requires_grad=True), torch.tensor([0, 1, 1, 0, 2, 2, 0, 1])
    counted = torch.rand(3, 8) > 0.3
    ours = alignment_loss(z, labels, counted, Prototypes(classes=5, width=4, momentum=0.0), 0.5)
    naive = naive_alignment(z, labels, counted, 0.5)
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(torch.autograd.grad(ours, z), torch.autograd.grad(naive, z))


def test_alignment_of_nothing_is_zero_and_differentiable():
    z = torch.randn(3, 2, 4, requires_grad=True)
    loss = alignment_loss(
        z, torch.tensor([-1, -1]), ~everyone((3, 2)), Prototypes(classes=2, width=4, momentum=0.0), 0.1
    )
    loss.backward()
    assert loss.item() == 0 and (z.grad == 0).all()


def test_prototypes_run_in_training_only():
    prototypes = Prototypes(classes=2, width=1, momentum=0.75)
    member = torch.tensor([[[1.0, 0.0]]])
    prototypes.train()
    prototypes(torch.tensor([[[4.0]]]), member)  # first sight of class 0: taken whole
    assert prototypes.running.tolist() == [[4.0], [0.0]]
    prototypes(torch.tensor([[[8.0]]]), member)  # 0.75 * 4 + 0.25 * 8
    assert prototypes.running.tolist() == [[5.0], [0.0]]
    prototypes.eval()
    assert prototypes(torch.tensor([[[100.0]]]), member).tolist() == [[5.0], [0.0]]
    assert prototypes.running.tolist() == [[5.0], [0.0]]


def test_prototypes_without_momentum_are_the_batch_own():
    prototypes = Prototypes(classes=2, width=1, momentum=0.0).train()
    z, member = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert prototypes(z, member).tolist() == [[2.0], [0.0]]
    assert (prototypes.running == 0).all()
