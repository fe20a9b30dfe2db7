"""Several models trained as one: the mean of their probabilities, each with a loss of its own."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dferc.core.device import choose_device
from dferc.evaluation.predict import load
from dferc.model.dferc import DFERC
from dferc.model.ensemble import Ensemble
from dferc.model.variants import settings_of
from dferc.results.analyses.inside import look_into
from dferc.store.hdf5 import read_corpus
from dferc.training.learner import dferc_objective
from dferc.training.run import train
from dferc.training.task import make_task
from tests.dferc.model.test_extras import LENGTHS, SPEAKERS, make, make_input
from tests.helpers.common import small_settings, write_features_folder

TOLERANCE = dict(rtol=1e-5, atol=1e-6)


def test_one_member_is_the_model_itself():
    assert type(make("full", linear_blend=True)) is DFERC and type(make("full", members=2)) is Ensemble
    assert type(make("full", recurrent_members=1)) is Ensemble


def test_the_mean_is_of_probabilities_and_the_floor_comes_after():
    model, given = make(members=3, recurrent_members=2), make_input()
    assert type(model) is Ensemble and len({one.projections["text"].weight.sum().item() for one in model.members}) == 3
    outputs = model(*given, SPEAKERS)
    each = [one(*given, SPEAKERS) for one in model.members]
    features, present, layout = given
    heard = torch.cat([features[name] * row.unsqueeze(1) for name, row in zip(features, present, strict=True)], dim=1)
    recurrent = [one(heard, layout) for one in model.recurrent]
    assert not torch.equal(*recurrent)
    mean = torch.stack([logits.softmax(1) for logits in [*(one.logits_NC for one in each), *recurrent]]).mean(0)
    floor = model.extras.floor(*given[:2])
    expected = (model.extras.blend[0] * mean.log() + model.extras.blend[1] * floor).softmax(1)
    torch.testing.assert_close(outputs.logits_NC.softmax(1), expected, **TOLERANCE)
    assert not any(one.extras.floor for one in model.members)
    contribution = torch.stack([one.contribution_MN for one in each]).mean(0)
    torch.testing.assert_close(outputs.contribution_MN, contribution, **TOLERANCE)
    torch.testing.assert_close(outputs.classified_NK, each[0].classified_NK, rtol=0, atol=0)


def test_an_utterance_does_not_depend_on_the_other_dialogues_nor_on_absent_features():
    model, (features, present, layout) = make(members=2, recurrent_members=1), make_input()
    whole = model(features, present, layout, SPEAKERS).logits_NC
    start = sum(LENGTHS[:2])
    rows = slice(start, None)
    alone = model(
        {m: x[rows] for m, x in features.items()}, present[:, rows], type(layout).of(LENGTHS[2:]), SPEAKERS[rows]
    )
    torch.testing.assert_close(alone.logits_NC, whole[rows], rtol=1e-4, atol=1e-5)
    other = {m: torch.where(row.unsqueeze(1), x, 9.0) for (m, x), row in zip(features.items(), present, strict=True)}
    torch.testing.assert_close(model(other, present, layout, SPEAKERS).logits_NC, whole, rtol=0, atol=0)


def test_a_recurrent_member_is_the_lstm_of_pytorch():
    model, (features, present, layout) = make("full", recurrent_members=1), make_input(absent=0)
    (branch,) = model.recurrent
    reference = torch.nn.LSTM(sum(x.shape[1] for x in features.values()), len(branch.dense.bias), bidirectional=True)
    for direction, suffix in enumerate(("", "_reverse")):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, f"{name}_l0{suffix}").data.copy_(getattr(branch.lstm, name)[direction])
    x = torch.cat(list(features.values()), dim=1)
    expected = torch.cat([branch.classify(torch.tanh(branch.dense(reference(part)[0]))) for part in x.split(LENGTHS)])
    torch.testing.assert_close(model(features, present, layout).of_recurrent[0], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    features = write_features_folder(tmp_path_factory.mktemp("corpus") / "demo")
    settings = settings_of("plus", small_settings(recurrent_members=1, attention_width=32, linear_blend=True))
    return make_task(read_corpus(features), "plus", settings, choose_device("cpu", "float32"))


def test_each_member_learns_by_its_own_loss(task):
    torch.manual_seed(0)
    model = task.new_model().eval()  # without dropout
    (batch,) = list(task.train.batches(len(task.train)))
    losses, _ = dferc_objective(model, batch, task)
    own = [dferc_objective(one, batch, task)[0] for one in model.members]
    (branch,) = model.recurrent
    logits = branch(torch.cat([batch.features[name] for name in model.modalities], dim=1), batch.layout)
    labelled = batch.labels_N >= 0
    recurrent = F.cross_entropy(logits[labelled], batch.labels_N[labelled], task.class_weights_C)
    total = torch.stack([one.total for one in own] + [recurrent]).mean()
    torch.testing.assert_close(losses.total, total, **TOLERANCE)
    losses.total.backward()
    weights = [model.members[1].projections["text"].weight, branch.lstm.weight_hh]
    together = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    (own[1].total + recurrent).backward()
    for one, weight in zip(together, weights, strict=True):
        torch.testing.assert_close(one, weight.grad / 3, rtol=1e-4, atol=1e-7)


def test_a_run_keeps_all_members(task, tmp_path):
    """Trained, calibrated, saved, loaded, predicted, analysed."""
    train(task, [0], folder=tmp_path / "plus" / "train", scratch=tmp_path / "scratch")
    predictor = load(tmp_path / "plus")
    model = predictor.checkpoints[0].model
    table = predictor.predict(task.corpus)
    (inside,) = look_into(tmp_path / "plus", task.corpus, "test", (0,), task.device.device)
    batch = inside.batch
    with torch.inference_mode():
        each = [one(batch.features, batch.present_MN, batch.layout, batch.speaker_N) for one in model.members]
        x_ND = torch.cat([batch.features[name] for name in model.modalities], dim=1)
        logits = [one.logits_NC for one in each] + [branch(x_ND, batch.layout) for branch in model.recurrent]
        assert len(logits) == 3
        mean_NC = torch.stack([one.softmax(1) for one in logits]).mean(0)
        a, b = model.extras.blend
        logits_NC = a * mean_NC.log() + b * model.extras.floor(batch.features, batch.present_MN)
        p_NC = (logits_NC / predictor.checkpoints[0].temperature).softmax(1)
    rows = [row for row in table.rows if row["utterance_id"].startswith("test")]
    found = np.array([[row[f"p_{name}"] for name in table.classes] for row in rows])
    np.testing.assert_allclose(found, p_NC.numpy(), atol=1e-5)
    assert inside.projected_MNH.shape[1] == len(rows)
