"""The analyses that look into models: geometry, missing modalities, votes; and the whole command on small runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.evaluation.evaluate import predict
from dferc.evaluation.predict import load_run
from dferc.model.dferc import Outputs
from dferc.results.analyses.context import analyse_context, count_votes
from dferc.results.analyses.document import SCHEMA
from dferc.results.analyses.geometry import MOST_ROWS, analyse_geometry, embed, levels_of, sample_rows, silhouettes
from dferc.results.analyses.inside import Inside, look_into
from dferc.results.analyses.missing import (
    RATES,
    analyse_missing,
    draws_per_seed,
    random_absences,
    reduce_input,
    subsets,
)
from dferc.results.runs import read_run
from dferc.store.hdf5 import read_corpus
from dferc.training.data import Batch
from tests.dferc.cli.test_cli import run_train
from tests.helpers.common import REPOSITORY, make_utterances, write_features_folder
from tests.helpers.finished_runs import write_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """features/demo, and in runs/demo: full (two seeds), t (one seed) and majority."""
    root = tmp_path_factory.mktemp("analyses")
    write_features_folder(root / "features/demo", absent=0.2)
    for arguments in (("--seed=0", "--seed=1"), ("--seed=0", "--variant=t")):
        assert run_train(root, *arguments).exit_code == 0
    paths = [f"--features={root / 'features'}", f"--out={root / 'runs'}", f"--params={REPOSITORY / 'params.yaml'}"]
    made = CliRunner().invoke(main, ["baselines", "--corpus=demo", "--name=majority", "--seed=0", *paths])
    assert made.exit_code == 0, made.output
    return root


@pytest.fixture(scope="module")
def insides(root) -> list[Inside]:
    return list(look_into(root / "runs/demo/full", read_corpus(root / "features/demo"), "test", (0, 1), CPU))


def run_analyse(root: Path, *arguments: object, figures: str = "--no-figures"):
    arguments = (figures, *arguments)
    paths = [f"--runs={root / 'runs'}", f"--features={root / 'features'}", f"--out={root / 'reports'}"]
    return CliRunner().invoke(main, ["analyse", "--corpus=demo", "--device=cpu", *paths, *map(str, arguments)])


def read_analyses(root: Path) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((root / "reports/demo/analyses.json").read_text(encoding="utf-8"), parse_constant=refuse)


# ---------------------------------------------------------------------------------------------------- missing


def test_subsets_are_all_but_the_empty_one_largest_first():
    assert subsets(3) == [(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]
    assert subsets(1) == [(0,)]


def test_random_absences_are_nested_reach_the_rate_and_leave_one():
    present_MN = np.random.default_rng(0).random((3, 200)) < 0.8
    left = random_absences(present_MN, np.random.default_rng(1))
    total, droppable = present_MN.sum(), present_MN.sum() - present_MN.any(axis=0).sum()
    before_MN = present_MN
    for rate, kept_MN in zip(RATES, left, strict=True):
        assert not (kept_MN & ~before_MN).any()
        assert (kept_MN.any(axis=0) == present_MN.any(axis=0)).all()
        assert total - kept_MN.sum() == min(round(rate * total), droppable)
        before_MN = kept_MN


def test_random_absences_choose_what_stays_and_what_goes_evenly():
    left = random_absences(np.ones((3, 3000), bool), np.random.default_rng(0))
    assert left[-1].sum() == 3000  # two thirds can go, and do
    assert left[-1].sum(axis=1) == pytest.approx([1000] * 3, abs=100)  # standard deviation 26
    assert left[0].sum(axis=1) == pytest.approx([2700] * 3, abs=100)


def test_everything_shown_scores_as_the_evaluation_did(root, insides):
    metrics = json.loads((root / "runs/demo/full/metrics.json").read_text())
    shown = [reduce_input(each, 1) for each in insides]
    first = analyse_missing(insides[0].model.modalities, shown, 17)["subsets"][0]
    assert first["modalities"] == ["text", "audio", "visual"]
    assert first["weighted_f1"]["mean"] == pytest.approx(metrics["test"]["weighted_f1"], abs=2e-6)
    assert first["weighted_f1"]["std"] == pytest.approx(metrics["test"]["weighted_f1_std"], abs=2e-6)


def test_seeds_that_drew_their_own_splits_are_shown_what_they_were_scored_on(root, tmp_path):
    shutil.copytree(root / "features", tmp_path / "features")
    assert run_train(tmp_path, "--seed=0", "--seed=1", "--set=train.validation_split=by_seed").exit_code == 0
    run = read_run(tmp_path / "runs/demo/full")
    for at, inside in enumerate(look_into(run.folder, read_corpus(root / "features/demo"), "test", (0, 1), CPU)):
        shown = inside.outputs.logits_NC.softmax(dim=1).numpy()
        assert shown == pytest.approx(run.probability_STC[at], abs=1e-5)


def test_a_subset_scores_as_a_corpus_without_the_others(root, insides):
    corpus = read_corpus(root / "features/demo")
    audio = corpus.modalities["audio"]
    corpus.modalities["audio"] = replace(
        audio, features=np.zeros_like(audio.features), present=np.zeros_like(audio.present)
    )
    made = predict(load_run([root / "runs/demo/full/train/seed-1"], CPU)[0], corpus, "test", CPU)
    accuracy = (made.probabilities_NC.argmax(axis=1) == corpus.utterances.emotion[made.rows_N]).mean()
    shown = reduce_input(insides[1], 1)
    assert shown.subsets[subsets(3).index((0, 2))][0] == pytest.approx(accuracy)
    present_MN = insides[1].batch.present_MN.numpy()
    assert shown.nothing[subsets(3).index((0, 2))] == (~present_MN[[0, 2]].any(axis=0)).sum()
    assert shown.nothing[-1] == (~present_MN[2]).sum() > 0


def test_absences_are_the_same_every_time_and_others_for_another_seed(insides):
    one, again = reduce_input(insides[0], 2), reduce_input(insides[0], 2)
    assert np.array_equal(one.random, again.random)
    assert one.random.shape == (len(RATES), 2, 2)
    present_MN = np.ones((3, 50), bool)
    masks = [random_absences(present_MN, np.random.default_rng([seed, 0])) for seed in (0, 1)]
    assert (masks[0][2] != masks[1][2]).any()


def test_draws_are_five_at_least_over_all_seeds():
    assert [draws_per_seed(seeds) for seeds in (1, 2, 3, 5, 10)] == [5, 3, 2, 1, 1]


# ---------------------------------------------------------------------------------------------------- geometry


def test_silhouettes_by_hand():
    # Both have text along (1, 0) and audio along (0, 1). By modality: own 0, other 1. By utterance: own 1, the
    # other's mean (0 + 1) / 2: (0.5 - 1) / 1.
    x_RH = np.array([[2.0, 0], [1, 0], [0, 1], [0, 3]])  # lengths do not count
    rows = {"modality": np.array([0, 0, 1, 1]), "utterance": np.array([0, 1, 0, 1])}
    assert silhouettes({"projected": x_RH}, rows) == {"projected": {"by_modality": 1.0, "by_utterance": -0.5}}
    turned = {"modality": rows["utterance"], "utterance": rows["modality"]}
    assert silhouettes({"projected": x_RH}, turned)["projected"] == {"by_modality": -0.5, "by_utterance": 1.0}


def test_sample_leaves_out_lone_and_absent_modalities():
    present_MN = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1]], dtype=bool)
    rows = sample_rows(present_MN)
    assert list(zip(rows["modality"], rows["utterance"])) == [(0, 0), (1, 0), (1, 2), (2, 0), (2, 2)]


def test_sample_of_a_large_split_is_small_and_always_the_same():
    rows = sample_rows(np.ones((3, 2610), bool))
    assert len(rows["utterance"]) <= MOST_ROWS and len(set(rows["utterance"])) == MOST_ROWS // 3
    assert np.array_equal(rows["utterance"], sample_rows(np.ones((3, 2610), bool))["utterance"])


def test_levels_are_unit_rows_of_what_the_model_made(insides):
    inside = insides[0]
    rows = sample_rows(inside.batch.present_MN.numpy())
    levels = levels_of(inside, rows)
    assert list(levels) == ["projected", "modality_level", "utterance_level", "disentangled"]
    for x_RH in levels.values():
        assert np.linalg.norm(x_RH, axis=1) == pytest.approx(1, abs=1e-5)
    name = inside.model.modalities[rows["modality"][0]]
    h_H = torch.tanh(inside.model.projections[name](inside.batch.features[name]))[rows["utterance"][0]].detach().numpy()
    assert levels["projected"][0] == pytest.approx(h_H / np.linalg.norm(h_H), abs=1e-5)


def test_tsne_repeats_and_knows_few_rows():
    levels = {"projected": np.random.default_rng(0).normal(size=(8, 5)).astype("f4")}
    one = embed(levels)
    assert one == embed(levels)
    assert one["perplexity"] == pytest.approx(7 / 3) and len(one["levels"]["projected"]["x"]) == 8


def test_geometry_of_nothing_says_so():
    found = analyse_geometry([], sample_rows(np.ones((1, 5), bool)), None)
    assert found["rows"] == 0 and found["silhouette"] == {} and "no two modalities" in found["statements"][0]


# ---------------------------------------------------------------------------------------------------- votes


def test_votes_by_hand():
    labels_N = torch.tensor([0, 1, 1, 2, -1])
    unimodal = torch.nn.functional.one_hot(torch.tensor([[0, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 2, 2, 2, 0]])).float()
    present_MN = torch.ones(3, 5, dtype=torch.bool)
    present_MN[0, 3] = False
    outputs = Outputs(*[None] * len(Outputs._fields))._replace(
        unimodal_MNC=unimodal,
        logits_NC=torch.eye(3)[[0, 2, 1, 2, 0]],
        agreement_N=torch.tensor([0.9, 0.5, 0.2, 0.0, 0.0]),
        context_weight_N=torch.tensor([0.1, 0.4, 0.6, 0.8, 0.8]),
    )
    batch = Batch(
        features={}, present_MN=present_MN, labels_N=labels_N, rows_N=torch.arange(5), speaker_N=None, layout=None
    )
    inside = Inside(seed=0, model=None, batch=batch, outputs=outputs, projected_MNH=None)
    votes = analyse_context({}, [count_votes(inside)])["votes"]
    assert [each["agreeing"] for each in votes] == [3, 2, 1]
    assert [each["accuracy"]["mean"] for each in votes] == [1, 0, 1]  # u0; u1; u2 (u3 lacks text, u4 a label)
    assert [each["weight"]["mean"] for each in votes] == pytest.approx([0.1, 0.4, 0.6])
    assert votes[0]["share"] == {"mean": pytest.approx(1 / 3, abs=1e-6), "std": None, "seeds": 1, "n": 3}
    assert count_votes(replace(inside, outputs=outputs._replace(unimodal_MNC=None))) == {}


# ---------------------------------------------------------------------------------------------------- the command


def test_command_writes_every_part_of_the_schema(root):
    result = run_analyse(root, figures="--figures")
    assert result.exit_code == 0, result.output
    assert len(list((root / "reports/demo/figures").iterdir())) == 12
    found = read_analyses(root)
    parts = {"contributions", "context", "dialogues", "calibration", "geometry", "missing"}
    head = {"schema", "corpus", "split", "card", "protocol", "simulated", "classes", "modalities", "utterances"}
    assert set(found) == parts | head | {"labelled", "dialogue_count", "support", "runs", "run", "notes", "digest"}
    assert found["schema"] == SCHEMA and found["simulated"][0].startswith("the corpus is no recording: synthetic")
    assert all({"how", "statements"} <= set(found[part]) for part in parts)
    assert list(found["runs"]) == ["full", "t", "majority"] and found["runs"]["full"]["seeds"] == [0, 1]
    assert found["notes"] == ["t, majority: one seed only, so no standard deviation over seeds"]
    assert found["calibration"]["runs"]["t"]["ece"]["std"] is None
    assert list(found["contributions"]["runs"]) == ["full"] and len(found["contributions"]["statements"]) == 2
    assert len(found["missing"]["subsets"]) == 7 and found["missing"]["draws"] == 3
    assert len(found["geometry"]["tsne"]["levels"]["projected"]["x"]) == found["geometry"]["rows"]
    assert [each["agreeing"] for each in found["context"]["votes"]] == [3, 2, 1]
    bins = found["context"]["runs"]["full"]["bins"]
    assert sum(each["accuracy"]["n"] for each in bins) == found["labelled"]


def test_what_is_seen_in_models_is_of_every_seed(root, insides):
    assert run_analyse(root).exit_code == 0
    found = read_analyses(root)
    rows = sample_rows(insides[0].batch.present_MN.numpy())
    each = [silhouettes(levels_of(inside, rows), rows)["disentangled"]["by_modality"] for inside in insides]
    assert each[0] != each[1]
    silhouette = found["geometry"]["silhouette"]["disentangled"]["by_modality"]
    assert silhouette == {
        "mean": pytest.approx(np.mean(each), abs=1e-6),
        "std": pytest.approx(np.std(each, ddof=1), abs=1e-6),
        "seeds": 2,
        "n": len(rows["utterance"]),
    }
    missing = [*found["missing"]["subsets"], *found["missing"]["random"]]
    scores = [line[score] for line in missing for score in ("accuracy", "weighted_f1")]
    shares = [line["share"] for line in found["context"]["votes"]]
    assert {number["seeds"] for number in (*scores, *shares)} == {2}
    assert found["geometry"]["tsne"]["seed"] == 0


def test_an_ensemble_says_whose_geometry_and_votes_are_shown(root, tmp_path):
    shutil.copytree(root / "features", tmp_path / "features")
    settings = ("--set=train.members=2", "--set=train.attention_width=32")
    assert run_train(tmp_path, "--seed=0", "--variant=plus", *settings).exit_code == 0
    assert run_analyse(tmp_path, "--run=plus").exit_code == 0
    (note,) = (note for note in read_analyses(tmp_path)["notes"] if "heads" in note)
    assert note == "plus has 2 heads: geometry and votes are of the first head's spaces alone"


def test_command_gives_the_same_bytes_again(root):
    assert run_analyse(root).exit_code == 0
    before = (root / "reports/demo/analyses.json").read_bytes()
    assert run_analyse(root).exit_code == 0
    assert (root / "reports/demo/analyses.json").read_bytes() == before


def test_command_on_text_only_says_what_it_cannot(root):
    assert run_analyse(root, "--run=t").exit_code == 0
    found = read_analyses(root)
    assert found["missing"]["statements"] == ["one modality (text): nothing but everything can be missing"]
    assert len(found["missing"]["subsets"]) == 1 and found["missing"]["random"] == []
    assert found["geometry"]["tsne"] is None and found["context"]["votes"] == []


def test_command_on_a_baseline_or_without_features_says_what_it_leaves_out(root, tmp_path):
    assert run_analyse(root, "--run=majority").exit_code == 0
    assert "majority kept no model (a baseline): geometry, missing modalities" in read_analyses(root)["notes"][0]
    assert run_analyse(root, f"--features={tmp_path}").exit_code == 0
    assert f"{tmp_path}/demo is not there" in read_analyses(root)["notes"][0]


def test_command_on_validation(root):
    assert run_analyse(root, "--split=validation").exit_code == 0
    assert read_analyses(root)["split"] == "validation"


def test_command_refuses_a_run_that_is_not_there_and_other_features(root, tmp_path):
    result = run_analyse(root, "--run=ful")
    assert result.exit_code == 1 and "has no run 'ful'. Did you mean 'full'? Choose one of: full" in " ".join(
        result.stderr.split()
    )
    write_features_folder(tmp_path / "demo", seed=3)
    with pytest.raises(InputError, match="was trained on other features"):
        list(look_into(root / "runs/demo/full", read_corpus(tmp_path / "demo"), "test", (0, 1), CPU))


def test_command_without_a_label_or_a_row_in_the_split_says_so(root, tmp_path):
    shutil.copytree(root / "runs", tmp_path / "runs")
    path = tmp_path / "runs/demo/full/evaluate/predictions.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(lines[0], encoding="utf-8")
    result = run_analyse(root, f"--runs={tmp_path / 'runs'}")
    assert result.exit_code == 1 and "labelled test utterances each, found none" in " ".join(result.stderr.split())


def shorten_seed_1(text: str) -> str:
    """Without an unlabelled utterance of one seed: what the scores need is all there."""
    return re.sub(r"^1,test-0-0,.*\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("context_weight", "weight", 1), "no column context_weight"),
        (lambda text: re.sub(r"[^,]+,[^,]+$", "much,more", text, flags=re.MULTILINE), "could not convert"),
        (shorten_seed_1, "its seeds have different utterances"),
    ],
)
def test_a_damaged_table_of_predictions_is_named_with_its_fault(tmp_path, change, fault):
    rows = make_utterances()
    rows.emotion[rows.utterance_id == "test-0-0"] = -1
    run = write_run(tmp_path / "full", rows, {seed: np.zeros(len(rows), int) for seed in (0, 1)})
    path = run / "evaluate/predictions.csv"
    header, _, body = path.read_text(encoding="utf-8").partition("\n")
    parts = (change(header), body) if "column" in fault else (header, change(body))
    path.write_text("\n".join(parts), encoding="utf-8")
    with pytest.raises(InputError, match=fault) as error:
        read_run(run)
    assert "predictions.csv" in str(error.value) and "Score it again" in str(error.value)
