"""Scores, tables and the checks that keep a checkpoint from being scored on features it was not trained on."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.core.metrics import score_labels
from dferc.evaluation.evaluate import evaluate, summarise, zero_f1
from dferc.evaluation.files import show_evaluation, write_evaluation
from dferc.evaluation.floor import linear_floor
from dferc.model.calibration import calibration_error, temper
from dferc.settings.sections import complete_settings
from dferc.store.card import card_hash, protocol_card
from dferc.store.hdf5 import read_corpus, read_features, write_features
from dferc.store.vocabulary import SPLITS
from dferc.training.checkpoint import load_checkpoint
from dferc.training.run import train
from dferc.training.seeds import find_checkpoints
from dferc.training.task import make_task
from tests.helpers.common import CLASSES, WIDTHS, make_features, small_settings, write_features_folder

CPU = torch.device("cpu")
SEEDS = (0, 1)


def trained(root: Path, features: Path, seeds=SEEDS, variant: str = "full", **changes) -> list[Path]:
    """Train in `root`; the checkpoint folders."""
    task = make_task(read_corpus(features), variant, small_settings(**changes), choose_device("cpu", "float32"))
    return train(task, seeds, folder=root / "train", scratch=root / "scratch")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A features folder `demo`, and two seeds trained on it in `train`."""
    root = tmp_path_factory.mktemp("evaluate")
    trained(root, write_features_folder(root / "demo"))
    return root


def evaluated(root: Path, features: Path | None = None):
    return evaluate(read_corpus(features or root / "demo"), find_checkpoints(root / "train"), CPU)


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------- scores


def test_score_by_hand():
    # class 0: actual 3, predicted 2, hits 2 -> P 1, R 2/3, F1 4/5; class 1: actual 1, predicted 2, hit 1 -> F1 2/3;
    # class 2 does not occur: it counts in no mean
    actual, predicted = np.array([0, 0, 0, 1, -1]), np.array([0, 0, 1, 1, 2])
    found = score_labels(actual, predicted, classes=3)
    assert found.accuracy == 3 / 4
    assert found.weighted_f1 == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)
    assert found.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found.precision_C.tolist() == [1, 0.5, 0]
    assert found.recall_C.tolist() == pytest.approx([2 / 3, 1, 0])
    assert found.actual_C.tolist() == [3, 1, 0]


def test_evaluate_repeats_the_validation_score_of_the_training(root):
    for evaluation in evaluated(root):
        kept = evaluation.record["scores"]
        assert evaluation.scores["validation"].weighted_f1 == pytest.approx(kept["validation_weighted_f1"])
        assert evaluation.scores["validation"].accuracy == pytest.approx(kept["validation_accuracy"])


def test_evaluate_does_not_depend_on_the_training_split(root, tmp_path):
    features = write_features_folder(tmp_path / "demo")
    text = read_features(features / "text.h5", "text")
    text.features[(read_corpus(features).utterances.split == "train") & text.present] = 77
    write_features(features / "text.h5", text)
    for one, two in zip(evaluated(root), evaluated(root, features), strict=True):
        assert np.array_equal(one.predictions["test"].probabilities_NC, two.predictions["test"].probabilities_NC)


def test_summarise_is_the_mean_and_deviation_over_the_seeds(root):
    evaluations = evaluated(root)
    rows = read_corpus(root / "demo").utterances
    metrics = summarise(evaluations, rows)
    values = [evaluation.scores["test"].weighted_f1 for evaluation in evaluations]
    assert metrics["seeds"] == 2
    assert metrics["test"]["weighted_f1"] == pytest.approx(np.mean(values), abs=1e-6)
    assert metrics["test"]["weighted_f1_std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert list(metrics["test"]["f1"]) == list(CLASSES)
    assert "weighted_f1_std" not in summarise(evaluations[:1], rows)["test"] and "mean" not in summarise(
        evaluations[:1], rows
    )


def test_zero_f1_names_the_class_that_is_never_right(root):
    first = evaluated(root)[0]
    scores = score_labels(np.array([0, 0, 1]), np.array([0, 0, 0]), classes=3)  # anger does not occur
    evaluations = [first._replace(scores={"test": scores})]
    assert list(zero_f1(evaluations)) == ["test: joy has F1 = 0 in 1 of 1 seed(s) (1 utterance)"]
    evaluations = [first._replace(scores={"test": score_labels(np.array([1]), np.array([0]), classes=3)})]
    assert list(zero_f1(evaluations)) == ["test: joy has F1 = 0 in 1 of 1 seed(s) (1 utterance)"]  # no hit at all


def test_a_class_counts_in_the_seeds_whose_drawn_split_has_it(root, capsys):
    """`train.validation_split: by_seed`: validation has no anger in the first seed, and no joy in the second."""
    actual = ([0, 0, 1], [0, 2, 2])
    drawn = [
        each._replace(scores={"validation": score_labels(np.array(labels), np.array(labels), classes=3)})
        for each, labels in zip(evaluated(root), actual, strict=True)
    ]
    found = summarise(drawn, read_corpus(root / "demo").utterances)["validation"]
    assert found["f1"] == found["recall"] == found["precision"] == {name: 1.0 for name in CLASSES}
    assert list(zero_f1(drawn)) == []
    metrics = summarise(drawn, read_corpus(root / "demo").utterances)
    show_evaluation(root, metrics, drawn)
    shown = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().err.splitlines() if line.split()}
    assert [shown[name] for name in CLASSES] == ["2", "1", "2"]
    missed = drawn[1]._replace(scores={"validation": score_labels(np.array([0, 2]), np.array([0, 0]), classes=3)})
    assert list(zero_f1([drawn[0], missed])) == ["validation: anger has F1 = 0 in 1 of 1 seed(s) (1 utterance)"]


# ---------------------------------------------------------------------------------------------------- tables


@pytest.fixture(scope="module")
def report(root) -> Path:
    write_evaluation(root, read_corpus(root / "demo"), evaluated(root))
    return root


def test_report_predictions_hold_every_scored_utterance_of_every_seed(report):
    corpus = read_corpus(report / "demo")
    table = read_table(report / "evaluate/predictions.csv")
    scored = np.isin(corpus.utterances.split, SPLITS[1:])
    assert [row["utterance_id"] for row in table] == list(corpus.utterances.utterance_id[scored]) * len(SEEDS)
    for row in table:
        probabilities = {emotion: float(row[f"p_{emotion}"]) for emotion in CLASSES}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == max(probabilities, key=probabilities.get)
        at = list(corpus.utterances.utterance_id).index(row["utterance_id"])
        contributions = {modality: float(row[f"contribution_{modality}"]) for modality in WIDTHS}
        assert sum(contributions.values()) == pytest.approx(1, abs=1e-4)
        for modality, contribution in contributions.items():
            assert (contribution > 0) == bool(corpus.modalities[modality].present[at])


def test_report_confusion_and_scores_follow_from_the_predictions(report):
    predictions = [row for row in read_table(report / "evaluate/predictions.csv") if row["split"] == "test"]
    pairs = [(row["emotion"], row["predicted"]) for row in predictions]
    assert [(row["actual"], row["predicted"]) for row in read_table(report / "evaluate/confusion.csv")] == pairs
    first = [emotion == predicted for emotion, predicted in pairs[: len(pairs) // 2]]
    (row,) = [r for r in read_table(report / "evaluate/per_seed.csv") if (r["seed"], r["split"]) == ("0", "test")]
    assert float(row["accuracy"]) == pytest.approx(np.mean(first), abs=1e-5)
    assert sum(int(row[f"support_{emotion}"]) for emotion in CLASSES) == len(first)


def test_report_metrics_is_nested_json_of_numbers(report):
    metrics = json.loads((report / "metrics.json").read_text())
    assert set(metrics) == {"card", "protocol", "seeds", "temperatures", "mean", "files", "validation", "test"}
    scores = ("weighted_f1", "macro_f1", "uar", "accuracy", "ece", "ece_calibrated")
    assert set(metrics["test"]) == {*scores, *(f"{name}_std" for name in scores), "f1", "recall", "precision"} | {
        *("ece_of_mean", "ece_of_mean_calibrated")
    }


def test_mean_over_the_seeds_has_a_temperature_of_its_own_that_fits_validation_best(report, capsys):
    metrics, evaluations = json.loads((report / "metrics.json").read_text()), evaluated(report)
    emotion = read_corpus(report / "demo").utterances.emotion
    mean_NC = np.mean([
        temper(each.predictions["validation"].probabilities_NC, each.record["calibration"]["temperature"])
        for each in evaluations
    ], axis=0)  # fmt: skip
    labels_N = emotion[evaluations[0].predictions["validation"].rows_N]
    mean_NC, labels_N = mean_NC[labels_N >= 0], labels_N[labels_N >= 0]

    def loss(temperature: float) -> float:
        return -np.log(temper(mean_NC, temperature)[np.arange(len(labels_N)), labels_N]).mean()

    fitted = metrics["mean"]["temperature"]
    assert fitted != 1 and metrics["mean"]["utterances"] == len(labels_N)
    if not metrics["mean"].get("note"):
        assert loss(fitted) < min(loss(0.99 * fitted), loss(1.01 * fitted))
    right_N = mean_NC.argmax(axis=1) == labels_N
    for name, values_NC in {"": mean_NC, "_calibrated": temper(mean_NC, fitted)}.items():
        expected = calibration_error(values_NC.max(axis=1), right_N)
        assert metrics["validation"][f"ece_of_mean{name}"] == pytest.approx(expected, abs=1e-6)
    show_evaluation(report, metrics, evaluations)
    shown = " ".join(capsys.readouterr().err.split())
    assert f"with its own temperature {metrics['validation']['ece_of_mean_calibrated']:.4f}" in shown


def test_report_names_temperatures_and_the_calibration_error_they_leave(report, capsys):
    """The temperature is that of the checkpoint; predictions.csv has the probabilities as the model gives them."""
    metrics = json.loads((report / "metrics.json").read_text())
    for seed in SEEDS:
        settings = json.loads((report / f"train/seed-{seed}/settings.json").read_text())
        temperature = settings["calibration"]["temperature"]
        assert metrics["temperatures"][str(seed)] == temperature != 1
        rows = [row for row in read_table(report / "evaluate/predictions.csv") if row["seed"] == str(seed)]
        rows = [row for row in rows if row["split"] == "test" and row["emotion"]]
        raw_NC = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
        right_N = np.array([row["emotion"] == row["predicted"] for row in rows])
        (scored,) = [
            row
            for row in read_table(report / "evaluate/per_seed.csv")
            if (row["seed"], row["split"]) == (str(seed), "test")
        ]
        assert float(scored["ece"]) == pytest.approx(calibration_error(raw_NC.max(axis=1), right_N), abs=1e-4)
        divided_NC = np.exp(np.log(raw_NC) / temperature)
        divided_NC /= divided_NC.sum(axis=1, keepdims=True)
        assert float(scored["ece_calibrated"]) == pytest.approx(
            calibration_error(divided_NC.max(axis=1), right_N), abs=1e-4
        )
    show_evaluation(report, metrics, evaluated(report))
    shown = " ".join(capsys.readouterr().err.split())
    assert f"calibration error (ECE) {metrics['validation']['ece']:.4f}" in shown
    assert f"with the fitted temperature {metrics['validation']['ece_calibrated']:.4f}" in shown


def test_every_result_names_the_protocol_card(report, capsys):
    rows, evaluations = read_corpus(report / "demo").utterances, evaluated(report)
    card = card_hash(rows)
    metrics = json.loads((report / "metrics.json").read_text())
    assert (metrics["card"], metrics["protocol"]) == (card, "synthetic")
    assert json.loads((report / "evaluate/protocol.json").read_text()) == protocol_card(rows)
    assert [evaluation.record["card"] for evaluation in evaluations] == [card] * len(SEEDS)
    show_evaluation(report, metrics, evaluations)
    assert f"protocol card {card}: synthetic" in capsys.readouterr().err


def test_report_of_a_split_without_labels_says_so_and_still_predicts(tmp_path, capsys):
    features = write_features_folder(tmp_path / "demo", unlabelled=("test",))
    trained(tmp_path, features, seeds=(0,), epochs=1)
    evaluations = evaluated(tmp_path)
    metrics = write_evaluation(tmp_path, read_corpus(features), evaluations)
    show_evaluation(tmp_path, metrics, evaluations)
    assert "test" not in metrics
    assert "the test split has no labelled utterance" in capsys.readouterr().err
    rows = [row for row in read_table(tmp_path / "evaluate/predictions.csv") if row["split"] == "test"]
    assert rows and not any(row["emotion"] for row in rows)
    assert read_table(tmp_path / "evaluate/confusion.csv") == []


def test_report_without_a_test_split(tmp_path):
    features = write_features_folder(tmp_path / "demo", dialogues={"train": 6, "validation": 6})
    trained(tmp_path, features, seeds=(0,), epochs=1)
    assert set(write_evaluation(tmp_path, read_corpus(features), evaluated(tmp_path))) == {
        *("card", "protocol", "seeds", "temperatures", "files", "validation")
    }


def test_report_of_a_model_of_all_labels_has_nothing_to_score(tmp_path):
    """`selection: refit` learns validation, too; without a test split no row is left."""
    features = write_features_folder(tmp_path / "demo", dialogues={"train": 6, "validation": 6})
    trained(tmp_path, features, seeds=(0,), epochs=1, selection="refit")
    metrics = write_evaluation(tmp_path, read_corpus(features), evaluated(tmp_path))
    assert not {"validation", "test"} & set(metrics)
    assert read_table(tmp_path / "evaluate/predictions.csv") == []


# ---------------------------------------------------------------------------------------------------- mismatches


@pytest.mark.parametrize(
    "change, message",
    [
        ({"corpus": "other"}, "corpus: trained on 'demo', found 'other'"),
        ({"widths": WIDTHS | {"text": 9}}, "widths.text: trained on 8, found 9"),
        ({"dialogues": {"train": 12, "validation": 5, "test": 4}}, "rows_hash: trained on "),
        ({"classes": ("neutral", "joy", "rage")}, "classes: trained on ['neutral', 'joy', 'anger'], found"),
        ({"unlabelled": ("test",)}, "card: trained on "),
        ({"widths": {"text": 8}}, "was trained with audio, visual, which the features folder lacks"),
    ],
)
def test_evaluate_refuses_other_features_and_names_both_sides(root, tmp_path, change, message):
    features = write_features_folder(tmp_path / "demo", **change)
    with pytest.raises(InputError, match=re.escape(message)):
        evaluated(root, features)


def test_evaluate_refuses_features_made_otherwise(root, tmp_path):
    features = write_features_folder(tmp_path / "demo")
    rows = read_corpus(features).utterances
    write_features(features / "audio.h5", make_features(rows, "audio", WIDTHS["audio"], seed=7))
    with pytest.raises(InputError, match="features.audio.extractor: trained on 'synthetic-0', found 'synthetic-7'"):
        evaluated(root, features)


def test_evaluate_refuses_a_checkpoint_copied_over_another_seeds(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    shutil.copy(root / "train/seed-0/model.safetensors", tmp_path / "train/seed-1/model.safetensors")
    with pytest.raises(InputError, match=r"seed-1/model.safetensors is not the file .* was it copied there"):
        evaluated(tmp_path)
    shutil.copy(root / "train/seed-0/settings.json", tmp_path / "train/seed-1/settings.json")
    with pytest.raises(InputError, match=r"train/seed-1 holds a checkpoint of seed 0: was it copied there\?"):
        evaluated(tmp_path)


def test_evaluate_refuses_seeds_that_differ_in_more_than_the_seed(tmp_path):
    features = write_features_folder(tmp_path / "demo")
    trained(tmp_path, features, seeds=(0,), epochs=1)
    trained(tmp_path, features, seeds=(1,), epochs=1, ddm_scale=0.7)
    with pytest.raises(InputError, match=re.escape("differ in more than the seed: settings.ddm_scale = 0.4 and 0.7")):
        evaluated(tmp_path)


def damage(path: Path, change) -> None:
    """Write the checkpoint again with its record changed by `change`."""
    record = load_checkpoint(path.parent, CPU).record
    change(record)
    save_file(load_file(path), path, {"dferc": json.dumps(record)})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda record: record.update(schema=99), "schema is 99; it should be 3"),
        (
            lambda record: record["widths"].update(text=9),
            "model.projections.text.weight is F32 of shape (8, 8), expected F32 of shape (8, 9)",
        ),
        (
            lambda record: record["settings"].update(hidden=16),
            "align.weight is F32 of shape (3, 16, 8), expected F32 of shape (3, 32, 8)",
        ),
        (
            lambda record: record["settings"].pop("align"),
            "settings.align is missing. Was it written by",
        ),
        (lambda record: record.pop("classes"), "classes is missing. Was it written by"),
    ],
)
def test_load_checkpoint_refuses_another_schema_or_width(tmp_path, change, message):
    (folder,) = trained(tmp_path, write_features_folder(tmp_path / "demo"), seeds=(0,), epochs=1)
    damage(folder / "model.safetensors", change)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_checkpoint(folder, CPU)
    assert "\n" not in str(caught.value)


def test_load_checkpoint_refuses_a_truncated_a_foreign_and_a_missing_file(tmp_path):
    (folder,) = trained(tmp_path, write_features_folder(tmp_path / "demo"), seeds=(0,), epochs=1)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_checkpoint(folder, CPU)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="the record is None; it should be an object"):
        load_checkpoint(folder, CPU)
    path.unlink()
    with pytest.raises(InputError, match="model.safetensors is missing. Train it"):
        load_checkpoint(folder, CPU)


def test_settings_json_is_the_record_and_names_the_versions(root):
    record = load_checkpoint(root / "train/seed-0", CPU).record
    settings = json.loads((root / "train/seed-0/settings.json").read_text())
    assert settings.pop("versions")["torch"] == torch.__version__
    assert len(settings.pop("run")) == 16  # dferc.training.resume.run_key
    assert settings.pop("weights") == file_hash(root / "train/seed-0/model.safetensors")
    settings["settings"] = complete_settings(settings["settings"])  # read with the defaults that records omit
    assert settings == record
    assert (record["corpus"], record["seed"], record["widths"]) == ("demo", 0, WIDTHS)


def test_load_checkpoint_draws_nothing_from_the_random_generator(root):
    before = torch.get_rng_state()
    load_checkpoint(root / "train/seed-0", CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_find_checkpoints_orders_by_number_and_needs_one(tmp_path):
    with pytest.raises(InputError, match="has no trained seed"):
        find_checkpoints(tmp_path)
    for name in ("seed-10", "seed-2", "seed-x", "curves"):
        (tmp_path / name).mkdir()
    assert [path.name for path in find_checkpoints(tmp_path)] == ["seed-2", "seed-10"]
    assert [path.name for path in find_checkpoints(tmp_path, (10, 2, 10))] == ["seed-10", "seed-2"]  # once each


# ---------------------------------------------------------------------------------------------------- the floor


def test_linear_floor_solves_what_is_linear_and_uses_all_modalities(tmp_path):
    dialogues = {"train": 60, "validation": 20, "test": 20}
    corpus = read_corpus(write_features_folder(tmp_path / "demo", dialogues=dialogues, noise=4.0))
    floor = linear_floor(corpus)
    alone = [linear_floor(corpus, (modality,)).test for modality in WIDTHS]
    assert floor.test > max(alone) > 0.45  # chance is about a third


def test_linear_floor_does_not_learn_rounding(tmp_path):
    """A feature of 1000 that differs by float32's last digit in training, as openSMILE has, and is 1001 in test."""
    corpus = read_corpus(write_features_folder(tmp_path / "demo", noise=0.6))
    text, test_N = corpus.modalities["text"], corpus.utterances.split == "test"
    odd = np.arange(len(test_N), dtype=np.float32) % 2 * np.float32(6.1e-5)
    floors = []
    for there in (np.float32(1000), np.float32(1000) + odd):
        text.features[:, 0] = np.where(text.present, np.where(test_N, np.float32(1001), there), 0)
        floors.append(linear_floor(corpus, ("text",)))
    assert floors[0] == floors[1]


def test_linear_floor_is_not_moved_by_units(tmp_path):
    corpus = read_corpus(write_features_folder(tmp_path / "demo", noise=4.0))
    floor = linear_floor(corpus)
    for made in corpus.modalities.values():
        made.features[:] = np.where(made.present[:, None], made.features * 1000 - 4, 0)
    again = linear_floor(corpus)
    assert (again.c, again.labelled) == (floor.c, floor.labelled)
    assert [again.validation, again.test] == pytest.approx([floor.validation, floor.test], abs=1e-6)


def test_linear_floor_does_not_read_absent_rows(tmp_path):
    corpus = read_corpus(write_features_folder(tmp_path / "demo", widths={"text": 8}, absent=0.5))
    floor, made = linear_floor(corpus), corpus.modalities["text"]
    made.features[~made.present] = 9 * corpus.utterances.emotion[~made.present, None]  # the answer
    assert linear_floor(corpus) == floor


def test_linear_floor_without_what_it_needs_says_so(tmp_path):
    corpus = read_corpus(write_features_folder(tmp_path / "one", unlabelled=("validation",)))
    with pytest.raises(InputError, match=re.escape("the validation split 0 labelled utterance(s)")):
        linear_floor(corpus)
    corpus = read_corpus(write_features_folder(tmp_path / "two", absent=1.0))
    with pytest.raises(InputError, match="no training utterance has any of these signals"):
        linear_floor(corpus)
    corpus = read_corpus(write_features_folder(tmp_path / "three", unlabelled=("test",)))
    assert linear_floor(corpus).test is None
