"""Several models trained as one: the mean of their probabilities, each with a loss of its own."""

import numpy as np
import pytest
import torch

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


def test_the_mean_is_of_probabilities_and_the_floor_comes_after():
    model, given = make(members=3), make_input()
    assert type(model) is Ensemble and len({one.projections["text"].weight.sum().item() for one in model.members}) == 3
    outputs = model(*given, SPEAKERS)
    each = [one(*given, SPEAKERS) for one in model.members]
    mean = torch.stack([one.logits_NC.softmax(1) for one in each]).mean(0)
    floor = model.extras.floor(*given[:2])
    expected = (model.extras.blend[0] * mean.log() + model.extras.blend[1] * floor).softmax(1)
    torch.testing.assert_close(outputs.logits_NC.softmax(1), expected, **TOLERANCE)
    assert not any(one.extras.floor for one in model.members)
    contribution = torch.stack([one.contribution_MN for one in each]).mean(0)
    torch.testing.assert_close(outputs.contribution_MN, contribution, **TOLERANCE)
    torch.testing.assert_close(outputs.classified_NK, each[0].classified_NK, rtol=0, atol=0)


def test_an_utterance_does_not_depend_on_the_other_dialogues():
    model, (features, present, layout) = make(members=2), make_input()
    whole = model(features, present, layout, SPEAKERS).logits_NC
    start = sum(LENGTHS[:2])
    rows = slice(start, None)
    alone = model(
        {m: x[rows] for m, x in features.items()}, present[:, rows], type(layout).of(LENGTHS[2:]), SPEAKERS[rows]
    )
    torch.testing.assert_close(alone.logits_NC, whole[rows], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    features = write_features_folder(tmp_path_factory.mktemp("corpus") / "demo")
    settings = settings_of("plus", small_settings(members=2, attention_width=32, linear_blend=True))
    return make_task(read_corpus(features), "plus", settings, choose_device("cpu", "float32"))


def test_each_member_learns_by_its_own_loss(task):
    torch.manual_seed(0)
    model = task.new_model().eval()  # without dropout
    (batch,) = list(task.train.batches(len(task.train)))
    losses, _ = dferc_objective(model, batch, task)
    own = [dferc_objective(one, batch, task)[0] for one in model.members]
    torch.testing.assert_close(losses.total, torch.stack([one.total for one in own]).mean(), **TOLERANCE)
    losses.total.backward()
    together = model.members[1].projections["text"].weight.grad.clone()
    model.zero_grad()
    own[1].total.backward()
    torch.testing.assert_close(together, model.members[1].projections["text"].weight.grad / 2, rtol=1e-4, atol=1e-7)


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
        mean_NC = torch.stack([one.logits_NC.softmax(1) for one in each]).mean(0)
        a, b = model.extras.blend
        logits_NC = a * mean_NC.log() + b * model.extras.floor(batch.features, batch.present_MN)
        p_NC = (logits_NC / predictor.checkpoints[0].temperature).softmax(1)
    rows = [row for row in table.rows if row["utterance_id"].startswith("test")]
    found = np.array([[row[f"p_{name}"] for name in table.classes] for row in rows])
    np.testing.assert_allclose(found, p_NC.numpy(), atol=1e-5)
    assert inside.projected_MNH.shape[1] == len(rows)
