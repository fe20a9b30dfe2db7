"""Baselines: what each computes, that it is fit on the training split only, and that its runs are runs like others."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dferc.baselines import registry, run
from dferc.baselines.bc_lstm import RecurrentBaseline, average_probabilities
from dferc.baselines.deterministic import logistic, majority
from dferc.baselines.registry import BASELINES, DETERMINISTIC, TRAINED, verify_baseline
from dferc.baselines.run import adapt, predict_baseline, run_baseline
from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.metrics import score_labels
from dferc.evaluation.evaluate import evaluate
from dferc.evaluation.files import write_evaluation
from dferc.evaluation.floor import floor_logits, linear_floor
from dferc.model.layers.lstm import Layout
from dferc.model.linear_blend import GRID
from dferc.results.compare import collect
from dferc.results.runs import read_run
from dferc.settings.yaml import read_yaml
from dferc.store.hdf5 import read_corpus, write_features, write_utterances
from dferc.store.rows import CachedCorpus
from dferc.training.data import Batch, Dialogues
from dferc.training.learner import DialogueLearner
from dferc.training.resume import Progress, save_progress
from dferc.training.run import train
from dferc.training.task import Task, make_task
from tests.helpers.common import REPOSITORY, make_features, make_utterances, small_settings, write_features_folder
from tests.helpers.small_peers import small_peers

DIALOGUES = {"train": 30, "validation": 10, "test": 12}


def make_small_task(corpus: CachedCorpus, **changes) -> Task:
    settings = small_settings(
        **({"hidden": 16, "batch_dialogues": 10, "epochs": 6, "patience": 6, "learning_rate": 0.03} | changes)
    )
    return make_task(corpus, "full", settings, choose_device("cpu", "float32"))


@pytest.fixture(scope="module", autouse=True)
def quick_peers() -> Iterator[None]:
    with small_peers():
        yield


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return write_features_folder(tmp_path_factory.mktemp("features") / "demo", dialogues=DIALOGUES, noise=3.0)


@pytest.fixture(scope="module")
def corpus(features) -> CachedCorpus:
    return read_corpus(features)


@pytest.fixture(scope="module")
def task(corpus) -> Task:
    return make_small_task(corpus)


@pytest.fixture(scope="module")
def runs(task, tmp_path_factory) -> Path:
    """runs/demo with every baseline and `full`, two seeds each."""
    root = tmp_path_factory.mktemp("runs") / "demo"
    for name in BASELINES:
        run_baseline(name, task, (0, 1), root / name)
    folders = train(task, (0, 1), folder=root / "full/train", scratch=root.parent / "scratch")
    write_evaluation(root / "full", task.corpus, evaluate(task.corpus, folders, torch.device("cpu")))
    return root


def fit(name: str, task: Task, seed: int) -> tuple[torch.nn.Module, Progress]:
    """Train with nothing kept."""
    progress = Progress()
    return run.fit(name, task, seed, progress), progress


def with_emotions(corpus: CachedCorpus, emotion: np.ndarray) -> CachedCorpus:
    return dataclasses.replace(corpus, utterances=dataclasses.replace(corpus.utterances, emotion=emotion))


# ---------------------------------------------------------------------------------------------------- without chance


def test_majority_has_the_shares_of_the_training_split(corpus):
    rows = corpus.utterances
    emotion = np.full(len(rows), 1)  # the most frequent class outside of training
    emotion[rows.split == "train"] = np.resize([2, 0, 2, -1, 1], (rows.split == "train").sum())
    assert (rows.split == "train").sum() == 105  # 21 rounds of 2, 0, 2, none, 1
    found = majority(with_emotions(corpus, emotion))
    assert found.shape == (len(rows), 3)
    assert (found == [0.25, 0.25, 0.5]).all()


def test_logistic_is_the_linear_floor(corpus):
    rows, found = corpus.utterances, linear_floor(corpus)
    predicted = logistic(corpus, tuple(corpus.modalities)).argmax(axis=1)
    for split, expected in (("validation", found.validation), ("test", found.test)):
        here = rows.split == split
        assert score_labels(rows.emotion[here], predicted[here], 3).weighted_f1 == pytest.approx(expected)


def test_the_score_that_selects_chooses_the_regressions_strength(corpus):
    """Of the grid, each time the best on validation by that score."""
    chosen = {}
    for select_by in ("weighted_f1", "uar", "accuracy"):
        reached = {}
        rows = corpus.utterances
        here_N = (rows.split == "validation") & (rows.emotion >= 0)
        for c in GRID:
            logits_NC, _ = floor_logits(corpus, c=c)
            scores = score_labels(rows.emotion[here_N], logits_NC[here_N].argmax(axis=1), 3)
            reached[c] = float(getattr(scores, select_by))
        chosen[select_by] = floor_logits(corpus, select_by=select_by)[1]
        assert reached[chosen[select_by]] == max(reached.values())
        predicted_NC = logistic(corpus, tuple(corpus.modalities), select_by=select_by)
        scores = score_labels(rows.emotion[here_N], predicted_NC[here_N].argmax(axis=1), 3)
        assert float(getattr(scores, select_by)) == max(reached.values())


def test_the_card_of_a_regression_names_another_score(corpus, tmp_path):
    for select_by in ("weighted_f1", "uar"):
        run_baseline("logistic", make_small_task(corpus, select_by=select_by), (0,), tmp_path / select_by)
    assert read_run(tmp_path / "uar").card["selected_by"] == "uar"
    assert "selected_by" not in read_run(tmp_path / "weighted_f1").card


def test_a_blend_that_hears_no_head_decides_as_the_row_logistic(corpus):
    """`plus` is said to be at the floor where its head is not heard: at the floor of the tables."""
    rows = corpus.utterances
    gapped = with_emotions(corpus, np.where((rows.split == "train") & (rows.emotion == 1), -1, rows.emotion))
    for each in (corpus, gapped):
        task = make_small_task(each, linear_blend=True)
        test = Dialogues(each, "test", task.normalisation, task.variant.modalities, task.device.device)
        model = task.new_model().eval()
        model.extras.blend.copy_(torch.tensor([0.0, 1.0]))
        model.extras.floor.take(task.floor)
        batches = [model(batch.features, batch.present_MN, batch.layout, None) for batch in test.batches(10)]
        found_NC = torch.cat([outputs.logits_NC for outputs in batches]).softmax(dim=1).detach().numpy()
        expected_NC = logistic(each, tuple(each.modalities))[rows.split == "test"]
        assert found_NC.argmax(axis=1).tolist() == expected_NC.argmax(axis=1).tolist()
        if each is corpus:  # of a class that training lacks, the blend leaves a little to the head
            np.testing.assert_allclose(found_NC, expected_NC, atol=1e-5)


def test_logistic_never_says_a_class_that_training_lacks(corpus):
    rows = corpus.utterances
    emotion = np.where((rows.split == "train") & (rows.emotion == 1), -1, rows.emotion)
    found = logistic(with_emotions(corpus, emotion), ("text",))
    assert (found[:, 1] == 0).all() and found.sum(axis=1) == pytest.approx(np.ones(len(rows)))


# ---------------------------------------------------------------------------------------------------- recurrent


def test_refit_without_chance_learns_both_splits(corpus):
    rows = corpus.utterances
    learnt_N = np.isin(rows.split, ["train", "validation"]) & (rows.emotion >= 0)
    shares = np.bincount(rows.emotion[learnt_N], minlength=3) / learnt_N.sum()
    np.testing.assert_allclose(majority(corpus, (), True)[0], shares)
    selected_NC, c = floor_logits(corpus)
    np.testing.assert_allclose(floor_logits(corpus, None, c)[0], selected_NC, atol=0.05)  # from another start
    merged = dataclasses.replace(
        corpus, utterances=dataclasses.replace(rows, split=np.where(rows.split == "test", "test", "train"))
    )
    expected_NC, _ = floor_logits(merged, None, c)
    assert not np.allclose(expected_NC, selected_NC, atol=0.05)
    found = logistic(corpus, tuple(corpus.modalities), True)
    np.testing.assert_allclose(found, torch.from_numpy(expected_NC).softmax(dim=1), rtol=1e-5)


def test_a_peers_loss_without_end_is_blamed_on_no_setting_that_it_does_not_read(task):
    row = {"epoch": 1, "validation_loss": float("nan")}
    with pytest.raises(InputError, match=r"--set train.learning_rate=3.0e-03.*train.precision"):
        DialogueLearner(adapt("bc_lstm", task), 0).quality(row)
    with pytest.raises(InputError) as caught:
        DialogueLearner(adapt("sdt", task), 0).quality(row)
    shown = str(caught.value)
    assert "rate, 0.02, is a constant" in shown and "precision" in shown and "train.learning_rate" not in shown


@pytest.mark.parametrize("name", [*TRAINED])
def test_training_repeats_bit_for_bit_and_follows_its_seed(corpus, name):
    task = adapt(name, make_small_task(corpus))
    task = dataclasses.replace(task, settings=task.settings.model_copy(update={"epochs": 2}))
    one = fit(name, task, 3)
    torch.rand(1)  # where the global generator stands must not matter
    again, other = fit(name, task, 3), fit(name, task, 4)
    weights = [torch.cat([values.flatten() for values in model.parameters()]) for model, _ in (one, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert one[1].best_score == again[1].best_score and one[1].history == again[1].history


def test_peers_train_all_epochs_of_their_authors(corpus):
    """A patience of 1 would end a run at its first dip; DialogueRNN on IEMOCAP rises again, far higher."""
    task, best = make_small_task(corpus, patience=1), []
    for name in (name for name in TRAINED if TRAINED[name].recipes):
        for seed in range(2):
            progress = fit(name, adapt(name, task), seed)[1]
            assert progress.epoch == 4
            best.append(progress.best_epoch)
    assert min(best) < 3  # where a patience of 1 would have ended a run before


@pytest.mark.parametrize("name", ["bc_lstm", "late_fusion"])
@pytest.mark.parametrize(
    "setting",
    [
        {"hidden": 8},
        {"dropout": 0.7},
        {"class_weights": "uniform"},
        {"input_dropout": 0.5},
        {"label_smoothing": 0.5},
        {"learning_rate": 0.01},
        {"betas": (0.5, 0.9)},
        {"eps": 1e-2},
        {"weight_decay": 0.1},
        {"warmup_steps": 20},
        {"clip_norm": 0.01},
        {"weight_average": 0.9},
        {"batch_dialogues": 5},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_recurrent_baselines_learn_by_every_setting_of_train_that_applies(corpus, name, setting):
    assert next(iter(setting)) in run.READ
    usual, other = (fit(name, make_small_task(corpus, epochs=2, **each), 0)[0] for each in ({}, setting))
    pairs = [*zip(usual.parameters(), other.parameters(), strict=True)]
    assert any(one.shape != two.shape or not torch.equal(one, two) for one, two in pairs)


def test_label_smoothing_counts_the_utterances_that_a_branch_sees(corpus):
    """By hand: the loss of late fusion over the rows of each modality alone."""
    task = make_small_task(corpus, label_smoothing=0.3)
    model = TRAINED["late_fusion"].build(task).eval()
    batch = next(iter(task.train.batches(5)))
    losses, _ = TRAINED["late_fusion"].objective(model, batch, task)
    logits_KNC, sees_KN = model(batch)
    expected = 0.0
    for logits_NC, sees_N in zip(logits_KNC, sees_KN, strict=True):
        counted_N = sees_N & (batch.labels_N >= 0)
        log_NC, labels_N = logits_NC[counted_N].log_softmax(dim=1), batch.labels_N[counted_N]
        weights_N = task.class_weights_C[labels_N]
        hard = -(weights_N * log_NC[torch.arange(len(labels_N)), labels_N]).sum() / weights_N.sum()
        expected = expected + 0.7 * hard + 0.3 * -log_NC.mean()
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_recurrent_averages_weights_where_the_settings_say_so(corpus):
    plain, averaged = (fit("bc_lstm", make_small_task(corpus, weight_average=decay), 0) for decay in (0.0, 0.9))
    pairs = zip(plain[0].parameters(), averaged[0].parameters(), strict=True)
    assert not any(torch.equal(one, two) for one, two in pairs)
    assert min(plain[1].best_score, averaged[1].best_score) > 0.6  # chance is about a third


def test_recurrent_leaves_the_random_generator_alone(task):
    before = torch.get_rng_state()
    fit("bc_lstm", task, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "average"), [*((name, 0.0) for name in TRAINED), ("bc_lstm", 0.9)])
def test_training_keeps_the_epoch_that_is_best_on_validation(corpus, name, average):
    task = adapt(name, make_small_task(corpus, weight_average=average))
    model, progress = fit(name, task, 0)
    rows_N, probabilities_NC = predict_baseline(name, model, task, task.validation)
    actual = task.corpus.utterances.emotion[rows_N.numpy()]
    found = score_labels(actual, probabilities_NC.argmax(dim=1).numpy(), 3).weighted_f1
    assert found == pytest.approx(progress.best_score)
    assert 1 <= progress.best_epoch <= task.settings.epochs


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_never_reads_a_test_label(corpus, task, tmp_path, name):
    rows = corpus.utterances
    wrong = with_emotions(corpus, np.where(rows.split == "test", (rows.emotion + 1) % 3, rows.emotion))
    _, honest = run_baseline(name, task, (0,), tmp_path / "one")
    _, other = run_baseline(name, make_small_task(wrong), (0,), tmp_path / "two")
    assert np.array_equal(honest[0].predictions["test"].probabilities_NC, other[0].predictions["test"].probabilities_NC)


def test_bc_lstm_hears_what_was_said_before(tmp_path):
    """The label is the class of the utterance before: context alone tells it."""
    corpus = read_corpus(
        write_features_folder(tmp_path / "demo", dialogues=DIALOGUES | {"train": 60}, noise=0.3, absent=0)
    )
    rows = corpus.utterances
    first = np.r_[True, rows.dialogue_id[1:] != rows.dialogue_id[:-1]]
    task = make_small_task(with_emotions(corpus, np.where(first, -1, np.roll(rows.emotion, 1))), epochs=12, patience=12)
    (heard,) = run_baseline("bc_lstm", task, (0,), tmp_path / "bc_lstm")[1]
    (deaf,) = run_baseline("logistic", task, (0,), tmp_path / "logistic")[1]
    assert heard.scores["test"].weighted_f1 > 0.85
    assert deaf.scores["test"].weighted_f1 < 0.6


@pytest.mark.parametrize("name", ["bc_lstm", "late_fusion"])
@pytest.mark.parametrize("causal", [True, False])
def test_causal_recurrent_baselines_know_nothing_that_comes_later(corpus, name, causal):
    task = make_small_task(corpus, causal=causal, epochs=1)
    rows = corpus.utterances
    later = dataclasses.replace(
        corpus,
        modalities={
            modality: dataclasses.replace(
                each,
                features=np.where((rows.position > 2)[:, None], 3 * each.features[::-1], each.features)
                * each.present[:, None],
            )
            for modality, each in corpus.modalities.items()
        },
    )
    model, _ = fit(name, task, 0)
    found = []
    for each in (corpus, later):
        dialogues = Dialogues(each, "test", task.normalisation, task.variant.modalities, torch.device("cpu"))
        rows_N, probabilities_NC = predict_baseline(name, model, task, dialogues)
        found.append(probabilities_NC[torch.from_numpy(rows.position)[rows_N] <= 2])
    assert torch.equal(*found) == causal


def test_the_card_of_a_baseline_names_its_features(runs, corpus):
    assert read_run(runs / "logistic").card["features"] == {
        name: dict(each.identity) for name, each in corpus.modalities.items()
    }


class Fixed(torch.nn.Module):
    """A branch that says always the same."""

    def __init__(self, share: float):
        super().__init__()
        self.logits_C = torch.tensor([share, 1 - share]).log()

    def forward(self, x_ND, layout):
        return self.logits_C.expand(len(x_ND), 2)


def test_a_baseline_of_other_settings_than_the_reference_is_named(corpus, tmp_path):
    """Where its settings are those of `full`, nothing is said, and of a peer's constants nothing ever."""
    usual, other = make_small_task(corpus), make_small_task(corpus, hidden=4, class_weights="uniform")
    root = tmp_path / "demo"
    folders = train(usual, (0,), folder=root / "full/train", scratch=tmp_path / "scratch")
    write_evaluation(root / "full", corpus, evaluate(corpus, folders, torch.device("cpu")))
    for name, task in {"bc_lstm": other, "late_fusion": usual, "mmgcn": other, "logistic": other}.items():
        run_baseline(name, task, (0,), root / name)
    found = [note for note in collect(root).notes if "other settings" in note]
    assert len(found) == 1 and found[0].startswith("bc_lstm was trained with other settings than full: ")
    assert "hidden 4 (full: 16)" in found[0] and "class_weights uniform" in found[0]


def test_late_fusion_is_the_mean_over_the_modalities_that_are_there():
    model = RecurrentBaseline([Fixed(0.9), Fixed(0.3)], [["text"], ["audio"]], ("text", "audio"))
    present = torch.tensor([[True, True, False, False], [True, False, True, False]])
    x = torch.zeros(4, 1)
    batch = Batch({"text": x, "audio": x}, present, torch.zeros(4), torch.arange(4), torch.zeros(4), Layout.of([4]))
    assert average_probabilities(*model(batch))[:, 0].tolist() == pytest.approx([0.6, 0.9, 0.3, 0.6])


def test_late_fusion_of_one_modality_is_early_fusion(tmp_path):
    task = make_small_task(read_corpus(write_features_folder(tmp_path / "demo", widths={"text": 8}, absent=0)))
    early, late = (fit(name, task, 0) for name in ("bc_lstm", "late_fusion"))
    assert early[1].history == late[1].history
    for one, two in zip(early[0].state_dict().values(), late[0].state_dict().values(), strict=True):
        assert torch.equal(one, two)


# ---------------------------------------------------------------------------------------------------- as runs


def test_runs_of_baselines_stand_in_the_table_beside_full(runs):
    found = collect(runs)
    assert [row.name for row in found.rows] == ["full", *sorted(BASELINES)]
    assert {row.run.card["card"] for row in found.rows} == {found.reference.card["card"]}
    scores = {row.name: row.run.scores.weighted_f1.mean() for row in found.rows}
    assert min(scores[name] for name in BASELINES if name != "majority") > scores["majority"] + 0.1
    assert found.notes == []


def test_run_of_a_baseline_says_the_same_for_every_seed_where_no_chance_is_in_it(runs):
    for name in BASELINES:
        predicted = read_run(runs / name).labelled.probability_STC
        assert np.array_equal(*predicted) == (name in DETERMINISTIC)


def test_late_fusion_is_not_early_fusion(runs):
    one, two = (read_run(runs / name).labelled.probability_STC for name in ("bc_lstm", "late_fusion"))
    assert abs(one - two).max() > 0.01


def test_run_of_a_baseline_claims_no_contribution_nor_context(runs):
    with open(runs / "bc_lstm/evaluate/predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert not [name for name in rows[0] if name.startswith("contribution")]
    assert {(row["context_weight"], row["agreement"]) for row in rows} == {("nan", "nan")}


def test_two_methods_without_chance_withhold_the_test_over_seeds(runs):
    assert (
        "majority differs from logistic alike in every seed: the interval and test over seeds are withheld"
        in collect(runs, against="logistic").notes
    )


def test_baseline_that_is_not_there_names_the_nearest():
    with pytest.raises(InputError, match="There is no baseline 'bclstm'. Did you mean 'bc_lstm'"):
        verify_baseline("bclstm")


def run_command(features, out, *options):
    arguments = ["baselines", "--corpus", "demo", "--features", str(features.parent), "--out", str(out)]
    arguments += ["--params", str(REPOSITORY / "params.yaml"), "--device", "cpu", "--seed", "7", *options]
    arguments += ["--scratch", str(out / "scratch")]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_baselines_command_writes_the_named_ones(features, tmp_path):
    result = run_command(features, tmp_path, "--name", "majority", "--name", "logistic")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["logistic", "majority"]
    assert read_run(tmp_path / "demo/majority").seeds == (7,)
    assert run_command(features, tmp_path, "--name", "late").exit_code == 1


def test_peers_name_their_constants_and_the_unnamed_speakers(tmp_path):
    rows = make_utterances(dialogues={"train": 4, "validation": 3, "test": 2})
    speaker = np.where(np.arange(len(rows)) < 3, "", rows.speaker)
    features = tmp_path / "demo"
    write_utterances(features / "utterances.h5", dataclasses.replace(rows, speaker=speaker))
    write_features(features / "text.h5", make_features(rows, "text", 5))
    result = run_command(features, tmp_path / "runs", "--name", "mmgcn", "--set", "train.causal=true")
    assert result.exit_code == 0, result.stderr
    stderr = " ".join(result.stderr.split())
    assert "mmgcn reads whole dialogues, what comes later as well" in stderr
    assert "causal" not in read_run(tmp_path / "runs/demo/mmgcn").card
    assert "mmgcn has its authors' constants" in stderr and "rate 0.02" in stderr and "layers 2" in stderr
    assert "3 of 10 training utterances have no speaker" in stderr


def test_a_peer_resumes_after_its_last_epoch_and_gives_the_same(task, tmp_path, monkeypatch, capsys):
    def stop_at(epoch: int):
        def save(path, progress):
            save_progress(path, progress)
            if progress.epoch == epoch:
                raise KeyboardInterrupt

        return save

    _, whole = run_baseline("mmgcn", task, (0,), tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "save_progress", stop_at(2))
        run_baseline("mmgcn", task, (0,), tmp_path / "part", tmp_path / "scratch")
    capsys.readouterr()
    for fresh, stage in ((False, "resumes after epoch 2"), (False, "finished, taken from"), (True, "")):
        _, resumed = run_baseline("mmgcn", task, (0,), tmp_path / "part", tmp_path / "scratch", fresh)
        assert np.array_equal(*(each[0].predictions["test"].probabilities_NC for each in (whole, resumed)))
        stderr = " ".join(capsys.readouterr().err.split())
        assert f"mmgcn, seed 0: {stage}" in stderr if stage else "mmgcn, seed 0" not in stderr


def test_dvc_runs_the_quick_ones_and_the_command_too_without_a_name(features, tmp_path):
    stages = read_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert (
        stages["baselines"]["matrix"]["name"] == [*registry.QUICK] == ["majority", "logistic", "bc_lstm", "late_fusion"]
    )
    assert run_command(features, tmp_path, "--set", "train.epochs=1").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(registry.QUICK)


def test_baselines_command_takes_the_settings_of_a_trial(features, tmp_path):
    trial = ("--name", "bc_lstm", "--set", "train.epochs=1", "--set")
    for hidden in (4, 5):
        assert run_command(features, tmp_path / f"{hidden}", *trial, f"train.hidden={hidden}").exit_code == 0
    four, five = ((tmp_path / f"{hidden}/demo/bc_lstm/metrics.json").read_text() for hidden in (4, 5))
    assert four != five
    refused = run_command(features, tmp_path, "--name", "bc_lstm", "--set", "train.hiden=4")
    assert refused.exit_code == 1 and "hidden" in refused.stderr


def test_baselines_command_tells_that_fewer_seeds_replace_more(features, tmp_path):
    command = ["baselines", "--corpus=demo", "--name=majority", f"--features={features.parent}", f"--out={tmp_path}"]
    shown = [CliRunner().invoke(main, [*command, *seeds]).stderr for seeds in (["--seed=0", "--seed=1"], ["--seed=5"])]
    found = ["demo/majority had 2 seeds and is made anew with 1" in " ".join(each.split()) for each in shown]
    assert found == [False, True]


def test_a_damaged_run_of_a_baseline_is_made_anew(features, tmp_path):
    command = ["baselines", "--corpus=demo", "--name=majority", f"--features={features.parent}", f"--out={tmp_path}"]
    (tmp_path / "demo/majority").mkdir(parents=True)
    (tmp_path / "demo/majority/metrics.json").write_text('{"seeds": 9')
    done = CliRunner().invoke(main, [*command, "--seed=0"])
    assert done.exit_code == 0, done.stderr
    assert read_run(tmp_path / "demo/majority").seeds == (0,)
