"""Training on feature sets other than the first of each modality, and on modalities of any number and names."""

import json

import pytest
import torch
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.evaluation.predict import _read_for, load
from dferc.model.variants import get_variant
from dferc.settings.sections import DEFAULTS, Train, complete_settings, recorded_settings
from dferc.store.hdf5 import read_corpus, read_utterances, write_features, write_utterances
from dferc.training.checkpoint import load_checkpoint, record_of_weights
from dferc.training.task import describe_run, make_task, usable_modalities, why_absent
from tests.helpers.common import make_features, small_settings, write_features_folder

SMALL = [f"--set=train.{name}" for name in ("hidden=8", "align=8", "epochs=2", "warmup_steps=2")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    folder = write_features_folder(root / "features/demo", widths={"text": 4, "audio": 3, "physiology": 2}, absent=0.2)
    rows = read_utterances(folder / "utterances.h5")
    write_features(folder / "audio/wavlm.h5", make_features(rows, "audio", 5, absent=0.3, seed=1))
    write_features(folder / "nothing.h5", make_features(rows, "nothing", 2, absent=1.0))
    return root


def run(root, command, *options):
    places = [f"--features={root / 'features'}", f"--out={root / 'runs'}", "--corpus=demo", "--device=cpu"]
    return CliRunner().invoke(main, [command, *places, *options], catch_exceptions=False)


def train(root, *options):
    return run(root, "train", f"--scratch={root / 'scratch'}", "--seed=0", *SMALL, *options)


def test_every_modality_of_the_folder_is_one_of_the_model_s(root):
    done = train(root)
    assert done.exit_code == 0, done.output
    checkpoint = load_checkpoint(root / "runs/demo/full/train/seed-0", torch.device("cpu"))
    assert checkpoint.modalities == ("text", "audio", "physiology")
    header = (root / "runs/demo/full/evaluate/predictions.csv").read_text().partition("\n")[0].split(",")
    assert [name for name in header if name.startswith("contribution_")] == [
        "contribution_text", "contribution_audio", "contribution_physiology",
    ]  # fmt: skip
    assert "not used: visual, nothing (not in the variant, or in no training utterance)" in " ".join(
        done.stderr.split()
    )


@pytest.mark.parametrize(
    ("features", "widths"),
    [
        ("{audio: audio/wavlm}", {"text": 4, "audio": 5, "physiology": 2}),
        ("{audio: [audio, audio/wavlm], physiology: []}", {"text": 4, "audio": 8}),
        ("{voice: audio/wavlm}", {"text": 4, "audio": 3, "physiology": 2, "voice": 5}),
    ],
)
def test_runs_of_other_sets_lie_beside_under_a_label_and_are_scored_on_their_sets(root, features, widths):
    label = "".join(filter(str.isalpha, features))
    done = train(root, f"--set=train.features={features}", f"--label={label}")
    assert done.exit_code == 0, done.output
    folder = root / f"runs/demo/full@{label}"
    record, metrics = record_of_weights(folder / "train/seed-0"), json.loads((folder / "metrics.json").read_text())
    assert record["widths"] == widths
    sets = record["settings"]["features"]
    assert json.loads((folder / "evaluate/protocol.json").read_text())["sets"] == sets != {}
    again = run(root, "evaluate", f"--label={label}")
    assert again.exit_code == 0, again.output
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_the_only_set_of_a_modality_is_read_for_predictions_as_it_was_for_training(root, tmp_path):
    rows = read_utterances(root / "features/demo/utterances.h5")
    write_utterances(tmp_path / "features/demo/utterances.h5", rows)
    write_features(tmp_path / "features/demo/text.h5", make_features(rows, "text", 4))
    write_features(tmp_path / "features/demo/audio/wavlm.h5", make_features(rows, "audio", 5))
    assert train(tmp_path, "--no-evaluate").exit_code == 0
    table = load(tmp_path / "runs/demo/full").predict(tmp_path / "features/demo")
    assert not [note for note in table.notes if "absent" in note]
    assert max(row["contribution_audio"] for row in table) > 0


@pytest.mark.parametrize(("there", "read"), [(("audio/x",), ["text", "audio"]), (("audio/x", "audio/y"), ["text"])])
def test_of_several_other_sets_none_is_taken_for_predictions(tmp_path, there, read):
    """No option of `dferc predict` could choose one: the modality is absent, as a note says."""
    folder = write_features_folder(tmp_path / "demo", widths={"text": 4})
    rows = read_utterances(folder / "utterances.h5")
    for name in there:
        write_features(folder / f"{name}.h5", make_features(rows, "audio", 3))
    record = {"settings": {"features": {"audio": ["audio/wavlm"]}}, "widths": {"text": 4, "audio": 3}}
    assert list(_read_for(record, folder).modalities) == read


def test_other_sets_do_not_mix_with_a_run_that_is_there(root):
    assert train(root, "--no-evaluate").exit_code == 0
    done = train(root, "--set=train.features={audio: audio/wavlm}")
    assert done.exit_code == 1
    assert "trained with other settings (features)" in " ".join(done.output.split()) and "--label" in done.output


def test_a_record_names_sets_only_where_they_are_not_the_first(root):
    """So records, and the bytes of weights, are those of versions without sets."""
    same = Train.model_validate(DEFAULTS.model_dump() | {"features": {"audio": "audio", "text": ["text"]}})
    assert same == DEFAULTS and "features" not in recorded_settings(same)
    assert complete_settings(recorded_settings(same)) == DEFAULTS.model_dump(mode="json")
    corpus = read_corpus(root / "features/demo")
    other = small_settings(features={"audio": "audio/wavlm"})
    assert "features" not in describe_run(corpus, "full", small_settings())["settings"]
    assert describe_run(corpus, "full", other)["settings"]["features"] == {"audio": ["audio/wavlm"]}


@pytest.mark.parametrize(
    ("variant", "usable"),
    [
        ("full", ("text", "audio", "physiology")),
        ("no_crm", ("text", "audio", "physiology")),
        ("ta", ("text", "audio")),
        ("only-physiology-text", ("text", "physiology")),
        ("only-physiology", ("physiology",)),
        ("without-audio", ("text", "physiology")),
        ("without-audio-physiology", ("text",)),
    ],
)
def test_a_variant_can_select_any_modalities(root, variant, usable):
    corpus = read_corpus(root / "features/demo")
    assert usable_modalities(corpus, variant) == usable and why_absent(corpus, variant) == ""
    task = make_task(corpus, variant, small_settings(), choose_device("cpu", "float32"))
    batch = next(task.train.batches(2))
    outputs = task.new_model()(batch.features, batch.present_MN, batch.layout)
    assert outputs.contribution_MN.shape[0] == len(usable) and outputs.logits_NC.isfinite().all()


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("only-text-visual", "'only-text-visual' uses visual, and no training utterance"),
        ("without-gaze", "'without-gaze' leaves out gaze, and no training utterance"),
        ("only-nothing", "uses nothing, and no training utterance"),
    ],
)
def test_a_selection_of_what_is_not_there_is_absent(root, variant, reason):
    assert reason in why_absent(read_corpus(root / "features/demo"), variant)


@pytest.mark.parametrize("name", ["only", "only-", "only-Text", "except-text", "only:text", "without-a--b"])
def test_other_spellings_of_a_selection_are_refused_with_the_right_one(name):
    with pytest.raises(InputError, match="no variant.*or modalities, such as only-text-physiology or without-audio"):
        get_variant(name)


def test_a_set_that_is_chosen_and_in_no_training_utterance_is_an_error(root):
    corpus = read_corpus(root / "features/demo", sets={"audio": ["nothing"]})
    with pytest.raises(InputError, match=r"train.features chooses nothing for audio, and no training.*audio: \[\]"):
        usable_modalities(corpus, "full")


def test_a_joined_set_that_is_in_no_training_utterance_is_an_error_too(root):
    """Its weights would stay random, and test rows that have it would be read by them, without a scale."""
    task = make_task(read_corpus(root / "features/demo"), "full", small_settings(), choose_device("cpu", "float32"))
    assert "audio" in task.variant.modalities
    joined = read_corpus(root / "features/demo", sets={"audio": ["audio", "nothing"]})
    with pytest.raises(InputError, match="no training utterance of demo has nothing"):
        make_task(joined, "full", small_settings(), choose_device("cpu", "float32"))


def test_a_modality_named_as_a_part_of_pytorch_s_modules_is_refused(tmp_path):
    corpus = read_corpus(write_features_folder(tmp_path / "demo", widths={"text": 4, "training": 3}))
    task = make_task(corpus, "full", small_settings(), choose_device("cpu", "float32"))
    with pytest.raises(InputError, match=r"'training' has the name of a part of PyTorch.*Rename its file, such as"):
        task.new_model()


@pytest.mark.parametrize(
    ("features", "fault"),
    [
        ("{audio: [audio, audio]}", "duplicate values: audio"),
        ("{audio: ../text}", "string should match pattern"),
        ("{Audio: audio}", "string should match pattern"),
        ("{audio: 3}", "input should be a valid list"),
        ("[audio]", "input should be a valid dictionary"),
    ],
)
def test_unsafe_or_double_names_of_sets_are_refused(root, features, fault):
    done = train(root, f"--set=train.features={features}")
    assert done.exit_code == 1 and fault in " ".join(done.output.split())


def test_a_label_that_is_no_file_name_is_a_usage_error(root):
    done = train(root, "--label=../x")
    assert done.exit_code == 2 and "is no file name" in " ".join(done.output.split())


def test_a_corpus_of_one_modality_of_another_name_is_trained_and_scored(tmp_path):
    write_features_folder(tmp_path / "features/demo", widths={"gaze": 3})
    done = train(tmp_path)
    assert done.exit_code == 0, done.output
    assert run(tmp_path, "baselines", "--name=late_fusion", "--seed=0", *SMALL).exit_code == 0
    header = (tmp_path / "runs/demo/full/evaluate/predictions.csv").read_text().partition("\n")[0]
    assert "contribution_gaze" in header and "contribution_text" not in header
    absent = train(tmp_path, "--variant=ta")
    assert absent.exit_code == 1 and "the variant 'ta' uses text, audio, and no training" in " ".join(
        absent.output.split()
    )


def test_a_variant_with_a_label_is_explained():
    with pytest.raises(InputError, match="give --variant full --label wavlm"):
        get_variant("full@wavlm")
