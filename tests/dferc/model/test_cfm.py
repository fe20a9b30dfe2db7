import torch

from dferc.model.cfm import ContributionFusion


def fusion(**changes):
    torch.manual_seed(0)
    sizes = dict(modalities=3, width=4, classes=5, dropout=0.0, scale=0.9)
    return ContributionFusion(**sizes | changes)


def test_contributions_sum_to_one_over_the_present_modalities():
    e, present = torch.randn(3, 6, 4), torch.ones(3, 6, dtype=torch.bool)
    present[0, 1] = present[1, 1] = present[2, 3] = False
    found = fusion()(e * present.unsqueeze(-1), present)
    torch.testing.assert_close(found.contribution_MN.sum(0), torch.ones(6))
    assert (found.contribution_MN[~present] == 0).all()
    assert found.contribution_MN[2, 1] == 1


def test_fused_feature_is_the_weighted_sum_beside_the_plain_sum():
    e, present = torch.randn(3, 2, 4), torch.ones(3, 2, dtype=torch.bool)
    found = fusion()(e, present)
    weighted = sum(found.contribution_MN[m, :, None] * e[m] for m in range(3))
    torch.testing.assert_close(found.fused_NF, torch.cat([0.9 * weighted, e.sum(0)], -1))


def test_without_cfm_every_present_modality_contributes_alike():
    e, present = torch.randn(3, 2, 4), torch.tensor([[True, True], [True, False], [True, False]])
    found = fusion(contributions=False)(e, present)
    torch.testing.assert_close(found.contribution_MN, torch.tensor([[1 / 3, 1], [1 / 3, 0], [1 / 3, 0]]))
    assert found.confidence_MN is None and found.unimodal_MNC is None


def test_an_utterance_without_any_modality_fuses_to_zero():
    found = fusion()(torch.zeros(3, 2, 4), torch.zeros(3, 2, dtype=torch.bool))
    assert (found.fused_NF == 0).all() and (found.contribution_MN == 0).all()
