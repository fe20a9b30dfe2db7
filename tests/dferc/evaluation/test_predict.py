"""dferc predict: what a model says of another corpus, and the features that it is kept from."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.evaluation.evaluate import Evaluation, Predictions, evaluate, predict
from dferc.evaluation.files import write_evaluation
from dferc.evaluation.predict import (
    _compare_identities,
    average,
    find_run,
    fit_to,
    load,
    predict_seeds,
    score_labelled,
)
from dferc.store.card import card_hash, simulations
from dferc.store.hdf5 import read_corpus, read_features, read_utterances, write_features, write_utterances
from dferc.store.rows import CachedCorpus, Features
from dferc.training.checkpoint import load_checkpoint
from dferc.training.run import train
from dferc.training.task import make_task
from tests.helpers.common import CLASSES, REPOSITORY, make_utterances, small_settings, write_features_folder

CPU = torch.device("cpu")
UNSEEN = {"corpus": "mine", "dialogues": {"test": 4}, "unlabelled": ("test",), "classes": ()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Features of `demo`, two seeds trained on it in run/, and features of `mine`, made alike and without labels."""
    root = tmp_path_factory.mktemp("predict")
    task = make_task(
        read_corpus(write_features_folder(root / "demo")), "full", small_settings(), choose_device("cpu", "float32")
    )
    train(task, (0, 1), folder=root / "run/train", scratch=root / "scratch")
    write_features_folder(root / "mine", **UNSEEN)
    return root


@pytest.fixture
def mine(root, tmp_path) -> Path:
    """Features of `mine`, to be changed."""
    return Path(shutil.copytree(root / "mine", tmp_path / "mine"))


def predict_corpus(checkpoints: list, corpus) -> Predictions:
    return average(predict_seeds(checkpoints, corpus, CPU))


def predict_command(root: Path, features: Path, out: Path, *more: object) -> Result:
    arguments = ["predict", f"--run={root / 'run'}", f"--features={features}", f"--out={out}", "--device=cpu", *more]
    return CliRunner().invoke(main, list(map(str, arguments)))


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def change(folder: Path, modality: str, identity: dict | None = None, **columns: object) -> None:
    """Write a modality of a folder again, with another identity or other columns."""
    made = read_features(folder / f"{modality}.h5", modality)
    fields = {name: getattr(made, name) for name in Features.__dataclass_fields__}
    write_features(
        folder / f"{modality}.h5", Features(**fields | columns | {"identity": {**made.identity, **(identity or {})}})
    )


def refused(root: Path, features: Path) -> str:
    with pytest.raises(InputError) as error:
        fit_to(load_checkpoint(root / "run/train/seed-0", CPU), read_corpus(features))
    return str(error.value)


def test_table_has_a_row_per_utterance_of_every_split(root, mine, tmp_path):
    result = predict_command(root, mine, tmp_path / "out/predictions.csv")
    assert result.exit_code == 0 and result.stdout == ""
    assert "10 utterances, mean of 2 models" in result.stderr and "labelled utterances" not in result.stderr
    table = read_table(tmp_path / "out/predictions.csv")
    assert [row["utterance_id"] for row in table] == list(read_corpus(mine).utterances.utterance_id)
    assert list(table[0]) == [
        *("utterance_id", "dialogue_id", "position", "speaker", "text", "emotion", "predicted"),
        *("p_neutral", "p_joy", "p_anger"),
        *("start_s", "end_s", "media"),
        *("contribution_text", "contribution_audio", "contribution_visual", "context_weight", "agreement"),
        *("disagreement", "synthetic"),
    ]
    for row in table:
        chances = {name: float(row[f"p_{name}"]) for name in CLASSES}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(chances, key=chances.get) and row["emotion"] == ""


def test_one_seed_says_what_evaluate_says_of_the_same_utterances(root, tmp_path):
    assert predict_command(root, root / "demo", tmp_path / "p.csv", "--seed=1").exit_code == 0
    predicted = {row["utterance_id"]: row for row in read_table(tmp_path / "p.csv")}
    corpus = read_corpus(root / "demo")
    write_evaluation(tmp_path, corpus, evaluate(corpus, [root / "run/train/seed-1"], CPU))
    temperature = load_checkpoint(root / "run/train/seed-1", CPU).temperature
    for row in read_table(tmp_path / "evaluate/predictions.csv"):
        calibrated = predicted[row["utterance_id"]]
        same = [name for name in calibrated if name in row and not name.startswith("p_")]
        assert {name: row[name] for name in same} == {name: calibrated[name] for name in same} and len(same) == 14
        powers = {name: float(row[f"p_{name}"]) ** (1 / temperature) for name in CLASSES}
        for name in CLASSES:
            assert float(calibrated[f"p_{name}"]) == pytest.approx(powers[name] / sum(powers.values()), abs=1e-5)
    assert temperature != 1


def test_disagreement_is_the_deviation_over_seeds_of_the_most_probable_class(root, mine, tmp_path):
    tables = [load(root / "run", seeds=seeds, device="cpu").predict(mine) for seeds in ((0,), (1,), (0, 1))]
    for zero, one, both in zip(*tables, strict=True):
        chosen = f"p_{both['predicted']}"
        assert both["disagreement"] == pytest.approx(np.std([zero[chosen], one[chosen]], ddof=1), rel=1e-6)
        assert zero["disagreement"] == one["disagreement"] == ""
    assert all(row["disagreement"] > 0 for row in tables[2])


def test_revision_of_a_bundle_on_the_hub_is_asked_for(root, mine, tmp_path, monkeypatch):
    def asked(repository: str, **options: object) -> str:
        raise ConnectionError(f"no {repository} at {options['revision']}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    options = ["--run=me/meld", "--revision=v7", f"--features={mine}", "--out=p.csv", "--device=cpu"]
    result = CliRunner().invoke(main, ["predict", *options])
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "me/meld" in message and "at revision 'v7'" in message, result.output
    local = CliRunner().invoke(main, ["predict", f"--run={root / 'run'}", *options[1:]])
    assert local.exit_code == 1 and "--revision v7" in local.stderr and "hub" in local.stderr, local.output


def test_abstain_leaves_the_less_probable_undecided_and_counts_them(root, mine, tmp_path):
    sure = [max(row[f"p_{name}"] for name in CLASSES) for row in load(root / "run", device="cpu").predict(mine)]
    abstain = sorted(sure)[4] - 1e-9  # the least of the six that stay
    result = predict_command(root, mine, tmp_path / "p.csv", f"--abstain={abstain!r}")
    assert result.exit_code == 0 and "4 undecided" in result.stderr, result.output
    table = read_table(tmp_path / "p.csv")
    assert [bool(row["predicted"]) for row in table] == [value >= abstain for value in sure]
    assert all(row["p_joy"] for row in table)
    assert predict_command(root, mine, tmp_path / "q.csv", "--abstain=50").exit_code == 2


def test_checkpoint_without_a_temperature_predicts_as_it_is_and_is_named(root, mine, tmp_path):
    shutil.copytree(root / "run/train", tmp_path / "train")
    record = json.loads((tmp_path / "train/seed-0/settings.json").read_text())
    del record["calibration"]  # an older version wrote none
    (tmp_path / "train/seed-0/settings.json").write_text(json.dumps(record))
    (tmp_path / "train/seed-1/settings.json").unlink()
    table = load(tmp_path, device="cpu").predict(mine)
    assert table.temperatures == (1, 1)
    assert any("temperature" in note and "seed 0, 1" in note and "settings.json" in note for note in table.notes)
    calibrated = load(root / "run", device="cpu").predict(mine)
    assert 1 not in calibrated.temperatures and not any("is stored" in note for note in calibrated.notes)
    corpus, _ = fit_to(load_checkpoint(root / "run/train/seed-0", CPU), read_corpus(mine))
    raw = predict(load_checkpoint(root / "run/train/seed-0", CPU), corpus, "test", CPU).probabilities_NC
    one = load(tmp_path, seeds=[0], device="cpu").predict(mine)
    assert [row["p_joy"] for row in one] == raw[:, CLASSES.index("joy")].tolist()


def test_temperature_of_the_mean_divides_it_once_more_and_changes_no_choice(root, mine, tmp_path):
    shutil.copytree(root / "run/train", tmp_path / "train")
    before = load(tmp_path, device="cpu").predict(mine)
    assert before.temperature_of_mean == 1
    assert any("mean over these seeds" in note and "`dferc evaluate`" in note for note in before.notes)
    corpus = read_corpus(root / "demo")
    metrics = write_evaluation(tmp_path, corpus, evaluate(corpus, [tmp_path / f"train/seed-{n}" for n in (0, 1)], CPU))
    after = load(tmp_path, device="cpu").predict(mine)
    assert after.temperature_of_mean == metrics["mean"]["temperature"] != 1
    assert not any("mean over" in note for note in after.notes)
    for one, two in zip(before, after, strict=True):
        powers = {name: one[f"p_{name}"] ** (1 / after.temperature_of_mean) for name in CLASSES}
        assert [two[f"p_{name}"] for name in CLASSES] == pytest.approx(
            [p / sum(powers.values()) for p in powers.values()]
        )
        assert one["predicted"] == two["predicted"]
    one_seed = load(tmp_path, seeds=[1], device="cpu").predict(mine)
    assert one_seed.temperature_of_mean == 1 and not any("mean over" in note for note in one_seed.notes)


def test_temperature_of_another_training_is_not_used_for_the_mean(root, mine, tmp_path):
    shutil.copytree(root / "run/train", tmp_path / "train")
    corpus = read_corpus(root / "demo")
    write_evaluation(tmp_path, corpus, evaluate(corpus, [tmp_path / f"train/seed-{n}" for n in (0, 1)], CPU))
    record = json.loads((tmp_path / "train/seed-0/settings.json").read_text())
    record["calibration"]["temperature"] += 0.001  # trained again since then
    (tmp_path / "train/seed-0/settings.json").write_text(json.dumps(record))
    assert load(tmp_path, device="cpu").predict(mine).temperature_of_mean == 1
    (tmp_path / "metrics.json").write_text(json.dumps({"card": "x", "mean": {"temperature": 0, "utterances": 1}}))
    with pytest.raises(InputError, match=r"metrics\.json: mean\.temperature is 0.*`dferc evaluate`"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize(("key", "part", "values"), [
    ("feature_set", "model", {"model": "c0ffee"}),
    ("finder", "finder", {"finder": {"yunet": "c0ffee", "opencv": "4"}}),
])  # fmt: skip
def test_a_file_of_the_settings_may_lie_elsewhere_if_its_hash_is_the_same(root, mine, key, part, values):
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    name = "audio" if key == "feature_set" else "visual"
    checkpoint.record["features"][name] |= {"params": {key: "mine/a"}, **values}
    change(mine, name, {"params": {key: "/elsewhere/a"}, **values})
    assert fit_to(checkpoint, read_corpus(mine))[1] == []
    other = {"model": "f00d"} if part == "model" else {"finder": {"yunet": "f00d", "opencv": "4"}}
    change(mine, name, other)
    with pytest.raises(InputError, match=f"{name}, params.{key}"):
        fit_to(checkpoint, read_corpus(mine))
    checkpoint.record["features"][name] |= {"model": None, "finder": None}  # two names of sets, say
    change(mine, name, {"model": None, "finder": None})
    with pytest.raises(InputError, match=f"{name}, params.{key}"):
        fit_to(checkpoint, read_corpus(mine))


def test_several_seeds_are_averaged(root):
    checkpoints = [load_checkpoint(folder, CPU) for folder in find_run(root / "run")]
    corpus, _ = fit_to(checkpoints[0], read_corpus(root / "mine"))
    first, second = (predict_corpus([each], corpus) for each in checkpoints)
    both = predict_corpus(checkpoints, corpus)
    for one, two, mean in list(zip(first, second, both, strict=True))[1:]:
        np.testing.assert_allclose(mean, (one + two) / 2, rtol=1e-6)
    assert not np.allclose(first.probabilities_NC, second.probabilities_NC)


def test_seeds_that_learnt_other_labels_are_not_averaged(root, tmp_path):
    shutil.copytree(root / "run", tmp_path / "run")
    corpus = read_corpus(write_features_folder(tmp_path / "demo", unlabelled=("test",)))
    task = make_task(corpus, "full", small_settings(), choose_device("cpu", "float32"))
    train(task, (2,), folder=tmp_path / "run/train", scratch=tmp_path / "scratch")
    with pytest.raises(InputError, match="seed-0 and .*seed-2 differ in more than the seed: card"):
        load(tmp_path / "run", device="cpu")
    assert len(load(tmp_path / "run", (0, 1), "cpu").checkpoints) == 2


def test_seeds_that_learnt_other_values_of_the_same_name_are_not_averaged(root, tmp_path):
    """An identity may not tell them: another file under the same name, or features written by hand."""
    shutil.copytree(root / "run", tmp_path / "run")
    corpus = read_corpus(root / "demo")
    audio = dataclasses.replace(corpus.modalities["audio"], features=-corpus.modalities["audio"].features)
    changed = dataclasses.replace(corpus, modalities={**corpus.modalities, "audio": audio})
    task = make_task(changed, "full", small_settings(), choose_device("cpu", "float32"))
    train(task, (2,), folder=tmp_path / "run/train", scratch=tmp_path / "scratch")
    for mixed in (lambda: load(tmp_path / "run"), lambda: evaluate(changed, find_run(tmp_path / "run"), CPU)):
        with pytest.raises(InputError, match=r"seed-0 and .*seed-2 differ in more than the seed: values\.audio"):
            mixed()
    assert len(load(tmp_path / "run", (0, 1), "cpu").checkpoints) == 2


def test_a_seed_from_before_the_hashes_of_values_is_averaged_with_a_newer_one(root, tmp_path):
    shutil.copytree(root / "run", tmp_path / "run")
    older, record = tmp_path / "run/train/seed-0", dict(load_checkpoint(root / "run/train/seed-0", CPU).record)
    del record["values"]
    save_file(load_file(older / "model.safetensors"), older / "model.safetensors", {"dferc": json.dumps(record)})
    (older / "settings.json").unlink()
    assert len(load(tmp_path / "run", device="cpu").checkpoints) == 2


def test_seeds_of_an_interrupted_training_are_named(root, mine, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    shutil.copytree(root / "run", tmp_path / "run")
    task = make_task(read_corpus(root / "demo"), "full", small_settings(), choose_device("cpu", "float32"))
    with pytest.raises(KeyboardInterrupt):
        train(task, (2,), folder=tmp_path / "run/train", scratch=tmp_path / "scratch", report=interrupt)
    notes = load(tmp_path / "run", device="cpu").predict(mine).notes
    assert [note for note in notes if "interrupted" in note] == ["seed 2 is of an interrupted training"]


def test_splits_that_alternate_come_in_the_order_of_the_corpus(root, tmp_path):
    """The demo has its splits one after the other; here the test dialogues come first."""
    folder = write_features_folder(tmp_path / "mine", corpus="mine", dialogues={"test": 3, "train": 3, "validation": 2})
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    corpus, _ = fit_to(checkpoint, read_corpus(folder))
    made = predict_corpus([checkpoint], corpus)
    assert made.rows_N.tolist() == list(range(len(corpus.utterances)))


def test_run_may_be_the_variant_its_train_folder_or_one_seed(root):
    seeds = [root / "run/train/seed-0", root / "run/train/seed-1"]
    assert find_run(root / "run") == find_run(root / "run/train") == seeds
    assert find_run(root / "run", [1]) == find_run(seeds[1]) == seeds[1:]
    with pytest.raises(InputError, match="has no trained seed"):
        find_run(root / "nowhere")


def test_a_run_without_models_is_named_so_and_an_absent_variant_is_not_trained(root, tmp_path):
    (tmp_path / "logistic").mkdir()
    (tmp_path / "logistic/metrics.json").write_text("{}")
    with pytest.raises(InputError, match="keeps predictions and no model: it is a baseline"):
        find_run(tmp_path / "logistic")
    for folder in ("tv/train", "full/train/seed-0"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(InputError, match=r"Trained there: full\. Train it first"):
        find_run(tmp_path / "tv")


def test_modality_that_is_not_there_is_absent(root, mine, tmp_path):
    (mine / "visual.h5").unlink()
    audio = read_features(mine / "audio.h5", "audio")
    nothing = {"features": np.zeros((len(audio.present), 3), np.float32), "present": np.zeros_like(audio.present)}
    change(mine, "audio", {"extractor": "none"}, **nothing)  # another width and maker: no value of it is used
    result = predict_command(root, mine, tmp_path / "p.csv")
    assert result.exit_code == 0
    assert "note: audio: absent throughout" in result.stderr and "note: visual: absent throughout" in result.stderr
    text = read_features(mine / "text.h5", "text").present
    for row, present in zip(read_table(tmp_path / "p.csv"), text, strict=True):
        assert float(row["contribution_text"]) == float(present) and float(row["contribution_audio"]) == 0


def test_corpus_without_any_known_modality_is_refused(root, mine):
    for modality in ("text", "audio", "visual"):
        made = read_features(mine / f"{modality}.h5", modality)
        change(mine, modality, features=np.zeros_like(made.features), present=np.zeros_like(made.present))
    assert "has none of the modalities" in refused(root, mine)


@pytest.mark.parametrize(
    ("modality", "identity", "said"),
    [
        ("text", {"model": "another"}, "text, model: trained on None, found 'another'"),
        ("audio", {"params": {"set": "eGeMAPS"}}, "audio, params: trained on None, found {'set': 'eGeMAPS'}"),
        ("visual", {"extractor": "other-net 1"}, "visual, extractor: trained on 'synthetic-0', found 'other-net 1'"),
    ],
)  # fmt: skip
def test_features_made_otherwise_are_refused_with_what_differs(root, mine, modality, identity, said):
    change(mine, modality, identity)
    message = refused(root, mine)
    assert said in message and "--encoder" in message and message.count("  - ") == 1


def test_other_width_is_refused(root, tmp_path):
    folder = write_features_folder(tmp_path / "mine", widths={"text": 9, "audio": 6, "visual": 5}, **UNSEEN)
    assert "text, width: trained on 8, found 9" in refused(root, folder)


def test_other_versions_of_the_same_tool_are_told(root, mine):
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    checkpoint.record["features"]["text"]["extractor"] = "transformers 5.0"
    change(mine, "text", {"extractor": "transformers 5.1", "computed_in": "bfloat16"})
    assert fit_to(checkpoint, read_corpus(mine))[1] == [
        "text, extractor: trained on 'transformers 5.0', found 'transformers 5.1'",
        "text, computed_in: trained on None, found 'bfloat16'",
    ]


def test_another_runtime_of_the_face_network_is_noted(root, mine):
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    checkpoint.record["features"]["visual"]["extractor"] = "densenet-bc-100-12, torch 2.15"
    change(mine, "visual", {"extractor": "densenet-bc-100-12, openvino 2026.4", "runtime": "openvino_bfloat16"})
    assert [note.partition(":")[0] for note in fit_to(checkpoint, read_corpus(mine))[1]] == [
        "visual, extractor",
        "visual, runtime",
    ]


def test_another_version_of_opencv_is_told_and_another_cascade_is_refused(root, mine):
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    checkpoint.record["features"]["visual"]["finder"] = {"opencv": "4.1", "cascade": "a.xml"}
    change(mine, "visual", {"finder": {"opencv": "4.2", "cascade": "a.xml"}})
    assert fit_to(checkpoint, read_corpus(mine))[1] == ["visual, finder.opencv: trained on '4.1', found '4.2'"]
    change(mine, "visual", {"finder": {"opencv": "4.1", "cascade": "b.xml"}})
    with pytest.raises(InputError, match=r"visual, finder\.cascade"):
        fit_to(checkpoint, read_corpus(mine))


def test_labelled_corpus_is_scored_whatever_the_order_of_its_classes(root, tmp_path):
    folder = write_features_folder(tmp_path / "mine", corpus="mine", dialogues={"test": 6}, classes=("joy", "neutral"))
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    corpus, _ = fit_to(checkpoint, read_corpus(folder))
    made = predict_corpus([checkpoint], corpus)
    names = [CLASSES[index] for index in made.probabilities_NC.argmax(axis=1)]
    actual = [corpus.utterances.classes[emotion] for emotion in corpus.utterances.emotion]
    scores = score_labelled(checkpoint.record, corpus, made)
    assert scores.accuracy == pytest.approx(np.mean([one == two for one, two in zip(names, actual, strict=True)]))
    assert scores.actual_C.tolist() == [actual.count(name) for name in CLASSES]
    result = predict_command(root, folder, tmp_path / "p.csv", "--seed=0")
    assert re.search(rf"on its 21 labelled utterances: .*accuracy \(WA\) {scores.accuracy:.4f}", result.stderr)


def test_training_corpus_and_unknown_classes_are_not_scored(root, tmp_path):
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    corpus, _ = fit_to(checkpoint, read_corpus(root / "demo"))
    assert score_labelled(checkpoint.record, corpus, predict_corpus([checkpoint], corpus)) is None
    folder = write_features_folder(tmp_path / "mine", corpus="mine", dialogues={"test": 6}, classes=("joy", "glee"))
    corpus, _ = fit_to(checkpoint, read_corpus(folder))
    assert score_labelled(checkpoint.record, corpus, predict_corpus([checkpoint], corpus)) is None
    result = predict_command(root, folder, tmp_path / "p.csv", "--seed=0")
    assert "not scored: the labels glee are no classes of the model" in " ".join(result.stderr.split())


def test_training_corpus_with_its_dialogues_in_another_order_is_not_scored():
    rows = make_utterances()
    order = np.concatenate([np.flatnonzero(rows.dialogue_id == name) for name in sorted(set(rows.dialogue_id))])
    columns = ("utterance_id", "dialogue_id", "position", "speaker", "emotion", "split", "text", "start_s", "end_s")
    turned = dataclasses.replace(rows, **{name: getattr(rows, name)[order] for name in columns})
    record = {"classes": list(rows.classes), "rows_hash": rows.rows_hash, "card": card_hash(rows)}
    nothing = np.zeros(len(rows))
    made = Predictions(np.arange(len(rows)), np.eye(len(rows.classes))[turned.emotion], nothing, nothing, nothing)
    assert turned.rows_hash != rows.rows_hash
    assert score_labelled(record, CachedCorpus(utterances=turned, modalities={}), made) is None


def test_scores_on_a_part_of_the_training_corpus_come_with_a_note(root, tmp_path):
    """Its rows and its card are others, and most of its utterances the model has learnt."""
    for name, noted in {"demo": True, "mine": False}.items():
        folder = write_features_folder(tmp_path / name, corpus=name, dialogues={"train": 2, "test": 1})
        table = load(root / "run", (0,), "cpu").predict(folder)
        assert table.scores is not None
        assert any("scores are too high" in note for note in table.notes) == noted


def test_refusal_is_one_message_without_a_table(root, mine, tmp_path):
    change(mine, "text", {"model": "another"})
    result = predict_command(root, mine, tmp_path / "p.csv")
    assert result.exit_code == 1 and result.stderr.startswith("error:") and "Traceback" not in result.output
    assert not (tmp_path / "p.csv").exists()


# ---------------------------------------------------------------------------------------------------- from Python


def test_load_and_predict_from_python_give_the_table_of_the_command(root, mine, tmp_path):
    import dferc

    assert predict_command(root, mine, tmp_path / "command.csv").exit_code == 0
    table = dferc.load(root / "run", device="cpu").predict(mine)
    table.to_csv(tmp_path / "python.csv")
    assert (tmp_path / "python.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    assert (table.corpus, table.classes, table.models, table.scores) == ("mine", CLASSES, 2, None)
    assert len(table) == len(list(table)) == len(read_table(tmp_path / "command.csv"))
    table.to_json(tmp_path / "python.json")
    document = json.loads((tmp_path / "python.json").read_text(encoding="utf-8"))
    assert [row["predicted"] for row in document["rows"]] == [row["predicted"] for row in table]
    one = dferc.load(root / "run", seeds=[1], device="cpu").predict(read_corpus(mine))
    assert one.models == 1 and one.rows[0]["p_joy"] != table.rows[0]["p_joy"]


def test_importing_the_package_imports_no_pytorch():
    program = "import sys, dferc; assert 'torch' not in sys.modules; assert callable(dferc.load)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        import dferc

        dferc.lode  # noqa: B018


# ---------------------------------------------------------------------------------------------------- times, synthetic


def test_predictions_name_time_and_media(root, mine, tmp_path):
    """To the millisecond also after hours; empty where a time or the media are unknown."""
    rows = read_utterances(mine / "utterances.h5")
    start_s = 5025.6789 + np.arange(len(rows))
    start_s[0] = np.nan
    media = np.array(["talks/Ä 1.mp4"] * (len(rows) - 1) + [""], dtype=object)
    write_utterances(
        mine / "utterances.h5", dataclasses.replace(rows, start_s=start_s, end_s=start_s + 1.5, media=media)
    )
    assert predict_command(root, mine, tmp_path / "p.csv").exit_code == 0
    table = read_table(tmp_path / "p.csv")
    assert [row["start_s"] for row in table[:3]] == ["", "5026.679", "5027.679"]
    assert [row["end_s"] for row in table[:3]] == ["", "5028.179", "5029.179"]
    assert [row["media"] for row in table] == list(media)
    load(root / "run", device="cpu").predict(mine).to_json(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["rows"][1]["start_s"] == pytest.approx(5026.6789)

    corpus = read_corpus(mine)
    write_evaluation(tmp_path, corpus, evaluate_like(root, corpus))
    assert [row["media"] for row in read_table(tmp_path / "evaluate/predictions.csv")] == list(media)


def evaluate_like(root: Path, corpus) -> list[Evaluation]:
    """Evaluate a run on a corpus that it was not trained on, as `write_evaluation` takes it."""
    checkpoint = load_checkpoint(root / "run/train/seed-0", CPU)
    predictions = predict_corpus([checkpoint], fit_to(checkpoint, corpus)[0])
    return [Evaluation(checkpoint.folder, checkpoint.record, {"test": predictions}, {}, {})]


def test_files_without_media_have_an_empty_column(root, mine, tmp_path):
    assert read_utterances(mine / "utterances.h5").media is None
    assert predict_command(root, mine, tmp_path / "p.csv").exit_code == 0
    assert {row["media"] for row in read_table(tmp_path / "p.csv")} == {""}


def test_a_model_of_synthetic_data_says_so_wherever_it_is_shown(root, mine, tmp_path):
    """The corpus of these tests declares itself synthetic, and so do its features."""
    result = predict_command(root, mine, tmp_path / "p.csv")
    shown = " ".join(result.stderr.split())
    assert (
        "SYNTHETIC DATA the model was trained on it; the corpus is no recording: synthetic; text features are" in shown
    )
    assert "visual features are simulated: synthetic-0; these predictions say nothing about real conversations" in shown
    assert {row["synthetic"] for row in read_table(tmp_path / "p.csv")} == {"yes"}
    table = load(root / "run", device="cpu").predict(mine)
    assert len(table.synthetic) == 4 and "SYNTHETIC DATA" in repr(table) and "10 utterances" in repr(table)
    table.to_json(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["synthetic"] == list(table.synthetic)
    corpus = read_corpus(root / "demo")
    evaluations = evaluate(corpus, [root / "run/train/seed-1"], CPU)
    run = tmp_path / "runs/demo/full"
    shutil.copytree(root / "run/train", run / "train")
    write_evaluation(run, corpus, evaluations)
    for command in (
        ["scores", "--corpus=demo", f"--runs={tmp_path / 'runs'}"],
        ["table", "--corpus=demo", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'reports'}"],
        ["compare", str(run), str(run)],
    ):
        printed = CliRunner().invoke(main, command)
        assert printed.exit_code == 0 and "SYNTHETIC DATA" in printed.stderr, printed.output
    for kind in ("md", "tex"):
        assert "the corpus is no recording: synthetic" in (tmp_path / f"reports/demo/ablation.{kind}").read_text()


def test_a_model_of_recordings_says_nothing_of_synthetic_data():
    record = {"protocol": "MELD, 7 emotions", "features": {"text": {"extractor": "transformers 5"}, "audio": {}}}
    assert list(simulations(record)) == []


def test_suffix_of_out_chooses_the_format(root, mine, tmp_path):
    for name in ("table.csv", "table.json", "TABLE.JSON"):
        assert predict_command(root, mine, tmp_path / name).exit_code == 0
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row["utterance_id"] for row in rows] == [row["utterance_id"] for row in read_table(tmp_path / "table.csv")]
    assert (tmp_path / "TABLE.JSON").read_bytes() == (tmp_path / "table.json").read_bytes()


@pytest.mark.parametrize("name", ["table.xlsx", "table", "table.csv.gz", ".csv"])
def test_other_suffixes_are_refused_before_any_work(root, mine, tmp_path, name):
    result = predict_command(root, mine, tmp_path / name)
    assert result.exit_code == 1 and name in result.stderr and ".csv or .json" in result.stderr
    assert not (tmp_path / name).exists()


def test_features_that_were_imported_from_another_file_are_noted_and_no_fault():
    trained, found = (
        {"extractor": "dferc import", "layout": "npz", "file": name, "file_sha256": name} for name in "ab"
    )
    assert [is_fault for _, is_fault in _compare_identities("text", trained, found)] == [False, False]
    assert any(is_fault for _, is_fault in _compare_identities("text", trained, found | {"layout": "pickle"}))
    published = trained | {"known_as": "MELD_features_raw1.pkl of MMGCN and MM-DFN", "version": "0.1.0"}
    assert not any(is_fault for _, is_fault in _compare_identities("text", published, found | {"version": "0.2.0"}))


def test_rows_hold_values_of_python_which_json_writes(root, mine):
    assert json.loads(json.dumps(load(root / "run", device="cpu").predict(mine).rows))[0]["position"] == 0
