"""Fine-tuning: it learns, keeps the best epoch, repeats itself to the bit, and says what it cannot work with."""

import csv
import json
import re
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import FNetConfig, FNetModel, GPT2Config, GPT2Model

from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.core.tables import write_table
from dferc.store.rows import UNLABELLED
from pipeline.finetune_text import main
from pipeline.rows.utterances import Utterance
from pipeline.text.encoder import Encoder, collate, load_encoder
from pipeline.text.finetuning import make_encoder, make_tagging_data
from pipeline.text.tagger import Tagger, TaggerLearner, shuffled_batches, train_tagger
from tests.helpers.encoders import (
    CUES,
    extract_settings,
    finetune_settings,
    small_encoder,
    talk,
    word_tokenizer,
    write_params,
)

CPU = choose_device("cpu", "float32")
ROWS = [*talk(24), *talk(9, split="validation"), *talk(5, split="test")]
CLASSES = tuple(sorted(CUES))


def run(folder, rows=ROWS, device="cpu", **changes):
    """Run the stage on `rows`; its output folder is `folder`/model."""
    folder.mkdir(exist_ok=True)
    write_table(folder / "utterances.csv", rows, Utterance)
    params = write_params(folder / "params.yaml", finetune_settings(**changes), extract_settings())
    paths = {
        "params": params,
        "utterances": folder / "utterances.csv",
        "out": folder / "model",
        "scratch": folder / "scratch",
    }
    options = [str(part) for name, path in paths.items() for part in (f"--{name}", path)]
    return CliRunner().invoke(main, ["--corpus", "demo", "--device", device, *options])


def validate(tagger, task):
    with torch.no_grad():
        return TaggerLearner(task, finetune_settings(), CPU).validate(tagger.eval())


def refused(folder, *message, rows=ROWS, **changes):
    """Check that the stage ends with status 1 and one message with these parts, and writes nothing."""
    result = run(folder, rows, **changes)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    printed = re.sub(r"\s+", " ", result.stderr)
    assert all(part in printed for part in message), printed
    assert not (folder / "model").exists()


def relabel(rows, emotion, split):
    return [replace(row, emotion=emotion) if row.split == split else row for row in rows]


def prepared(rows=ROWS, **changes):
    settings = finetune_settings(**changes)
    torch.manual_seed(settings.seed)
    encoder = make_encoder(rows, settings)
    task = make_tagging_data(rows, encoder, settings)
    return Tagger(encoder, len(task.classes), settings.dropout), task, settings


# ---------------------------------------------------------------------------------------------------- learning


def test_stage_learns_a_word_that_gives_the_emotion_away(tmp_path):
    result = run(tmp_path, epochs=5, learning_rate=3.0e-3, patience=5)
    assert result.exit_code == 0, result.stderr
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["validation_weighted_f1"] > 0.9  # a guess among three: about 0.3
    assert len(re.findall(r"^epoch +\d+/5 .* weighted F1 [01]\.\d{4}", result.stderr, re.MULTILINE)) == 5


def test_stage_keeps_the_epoch_of_the_best_validation_score(tmp_path):
    assert run(tmp_path, epochs=6, patience=6, learning_rate=3.0e-3).exit_code == 0
    folder = tmp_path / "model"
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        history = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    metrics = json.loads((folder / "metrics.json").read_text())
    best = max(history, key=lambda row: row["validation_weighted_f1"])  # the first of equals
    assert metrics == best

    tagger = Tagger(load_encoder(folder, 48), len(CLASSES), dropout=0.0)
    tagger.classifier.load_state_dict(load_file(folder / "classifier.safetensors"))
    task = make_tagging_data(ROWS, load_encoder(folder, 48), finetune_settings())
    scores = validate(tagger, task)
    assert scores["loss"] == pytest.approx(best["validation_loss"], abs=1e-6)
    assert (scores["accuracy"], scores["weighted_f1"]) == (best["validation_accuracy"], best["validation_weighted_f1"])


def test_stage_stops_when_patience_is_over(tmp_path):
    result = run(tmp_path, epochs=9, patience=2, learning_rate=1.0e-12)  # too little to change any score
    assert "no better validation weighted F1 in 2 epochs: stopped" in result.stderr
    assert len((tmp_path / "model" / "history.csv").read_text().splitlines()) == 1 + 3


def test_stage_repeats_itself_to_the_byte_and_the_seed_matters(tmp_path):
    names = ("model.safetensors", "classifier.safetensors", "tokenizer.json", "history.csv", "metrics.json")
    files = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        torch.rand(1)  # what was drawn before must not matter
        assert run(tmp_path / name, seed=seed).exit_code == 0
        files[name] = [(tmp_path / name / "model" / file).read_bytes() for file in names]
    assert files["first"] == files["again"]
    assert files["first"][0] != files["other"][0]


@pytest.mark.parametrize("folds", [0, 2])
def test_media_train_no_encoder_anew(tmp_path, folds):
    """A crop, a repaired clip; with folds, which utterances two dialogues share is seen by their media alone."""
    assert run(tmp_path, epochs=1, folds=folds).exit_code == 0
    other = [replace(row, media=f"{row.utterance_id}.mp4", has_audio=True) for row in ROWS]
    assert run(tmp_path, other, epochs=1, folds=folds).exit_code == 0
    assert len(list((tmp_path / "scratch").iterdir())) == (2 if folds else 1)
    assert run(tmp_path, [replace(row, text=f"{row.text} anew") for row in ROWS], epochs=1).exit_code == 0
    assert len(list((tmp_path / "scratch").iterdir())) == (3 if folds else 2)


def test_an_interrupted_stage_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    """Folds too: what is finished is not trained again, and what was begun resumes after its last epoch."""
    settings = {"epochs": 3, "patience": 3, "folds": 2, "learning_rate": 3.0e-3}
    assert run(tmp_path / "whole", **settings).exit_code == 0
    score, seen = TaggerLearner.score, []

    def interrupted(self, tagger):
        seen.append(1)
        if len(seen) == 5:  # the second epoch of the first fold
            raise KeyboardInterrupt
        return score(self, tagger)

    monkeypatch.setattr(TaggerLearner, "score", interrupted)
    assert run(tmp_path / "stopped", **settings).exit_code == 130
    resumed = run(tmp_path / "stopped", **settings)
    assert resumed.exit_code == 0
    assert "resumes after epoch 1" in resumed.stderr and len(seen) == 5 + 2 + 3
    one, two = (
        {path.relative_to(each): file_hash(path) for path in each.rglob("*") if path.is_file()}
        for each in (tmp_path / "whole/model", tmp_path / "stopped/model")
    )
    assert one == two and len(one) > 10
    assert len(list((tmp_path / "stopped/scratch").iterdir())) == 1  # the model alone


def test_stage_computes_with_the_threads_of_its_settings(tmp_path, monkeypatch):
    seen, loss, before = [], TaggerLearner.loss, torch.get_num_threads()

    def counting(self, *arguments):
        seen.append(torch.get_num_threads())
        return loss(self, *arguments)

    monkeypatch.setattr(TaggerLearner, "loss", counting)
    assert run(tmp_path, epochs=1, threads=3).exit_code == 0
    assert set(seen) == {3} and torch.get_num_threads() == before


def test_stage_leaves_the_callers_random_stream_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert run(tmp_path, epochs=1).exit_code == 0
    assert torch.equal(torch.rand(1), expected)


def test_stage_fine_tunes_an_encoder_from_a_folder(tmp_path):
    small_encoder(ROWS).save(tmp_path / "published")
    assert run(tmp_path, encoder=str(tmp_path / "published"), epochs=1).exit_code == 0
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("published", "model"))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("query.weight"))


def test_no_epochs_keep_the_encoder_as_published(tmp_path):
    small_encoder(ROWS).save(tmp_path / "published")
    unlabelled = [replace(row, emotion="") for row in ROWS]
    result = run(tmp_path, unlabelled, encoder=str(tmp_path / "published"), epochs=0)
    assert result.exit_code == 0, result.stderr
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("published", "model"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "model" / "metrics.json").read_text()) == {"epoch": 0}
    assert not (tmp_path / "model" / "classifier.safetensors").exists()


def test_classifier_names_its_classes(tmp_path):
    assert run(tmp_path, epochs=1).exit_code == 0
    with safe_open(tmp_path / "model" / "classifier.safetensors", "pt") as file:
        assert json.loads(file.metadata()["classes"]) == list(CLASSES)


def test_output_replaces_the_old_and_what_a_kill_left(tmp_path):
    for stale in ("model", ".model.part"):
        (tmp_path / stale).mkdir()
        (tmp_path / stale / "stale").touch()
        (tmp_path / stale / "tokenizer.json").touch()
    assert run(tmp_path, epochs=1).exit_code == 0
    assert not (tmp_path / "model" / "stale").exists()
    assert not (tmp_path / ".model.part").exists()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o644}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_stage_learns_on_a_gpu_in_every_precision(tmp_path, precision):
    result = run(tmp_path, epochs=5, patience=5, learning_rate=3.0e-3, precision=precision, device="cuda")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "model" / "metrics.json").read_text())["validation_weighted_f1"] > 0.9


# ---------------------------------------------------------------------------------------------------- the task


def test_task_leaves_out_windows_without_a_label():
    rows = [
        *talk(6),
        *(replace(row, utterance_id=f"x{n}", dialogue_id="x", emotion="") for n, row in enumerate(talk(2))),
    ]
    rows += talk(3, split="validation")
    _, task, _ = prepared(rows)
    used = {row for window in task.train for row in window.rows}
    assert used == {index for index, row in enumerate(rows) if row.split == "train" and row.dialogue_id != "x"}
    assert [task.classes[label] if label >= 0 else "" for label in task.labels_N] == [row.emotion for row in rows]


def test_unlabelled_utterances_are_context_only():
    hidden = [replace(row, emotion="") if number % 2 else row for number, row in enumerate(ROWS)]
    tagger, task, _ = prepared(hidden)
    tagger.eval()
    logits = {}
    with torch.no_grad():
        for window in task.validation:
            batch = collate([window], task.pad)
            logits |= dict(zip(batch.row_U.tolist(), tagger(batch), strict=True))
    labelled = [row for row in logits if task.labels_N[row] != UNLABELLED]
    assert 0 < len(labelled) < len(logits)
    expected = torch.nn.functional.cross_entropy(
        torch.stack([logits[row] for row in labelled]), task.labels_N[labelled]
    )
    assert validate(tagger, task)["loss"] == pytest.approx(expected.item(), abs=1e-5)


def test_overlapping_windows_count_every_label_once():
    """What a window repeats is context: the loss is over as many utterances as without overlap."""
    _, plain, _ = prepared(max_tokens=14)
    tagger, task, _ = prepared(max_tokens=14, window="overlapping", context_share=0.5)
    labelled = sorted(row for window in task.train for row in window.rows)
    assert labelled == [index for index, row in enumerate(ROWS) if row.split == "train"]
    assert sum(map(len, task.train)) > sum(map(len, plain.train))
    tagger.eval()
    with torch.no_grad():
        batches = [collate([window], task.pad) for window in task.validation]
        expected = [
            torch.nn.functional.cross_entropy(tagger(b), task.labels_N[b.row_U], reduction="sum") for b in batches
        ]
    assert validate(tagger, task)["loss"] == pytest.approx(
        sum(expected).item() / sum(row.split == "validation" for row in ROWS), abs=1e-5
    )


def test_emotion_of_the_test_split_alone_is_no_class():
    rows = relabel(ROWS, "disgust", "test")
    _, task, _ = prepared(rows)
    assert task.classes == CLASSES


def test_shuffled_batches_take_every_window_once_in_a_new_order_each_time():
    lengths = [3 + (7 * number) % 50 for number in range(101)]
    generator = torch.Generator().manual_seed(0)
    first, second = (shuffled_batches(lengths, 4, generator) for _ in range(2))
    for batches in (first, second):
        assert sorted(index for batch in batches for index in batch) == list(range(101))
        assert sorted(map(len, batches)) == [1, *[4] * 25]
    assert first != second


def test_shuffled_batches_pad_less_than_unsorted_ones():
    lengths = torch.randint(5, 200, (400,), generator=torch.Generator().manual_seed(0)).tolist()

    def padded(batches):
        return sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)

    unsorted = [list(range(start, start + 4)) for start in range(0, 400, 4)]
    saved = padded(unsorted) - padded(shuffled_batches(lengths, 4, torch.Generator().manual_seed(1)))
    assert saved > 0.6 * (padded(unsorted) - sum(lengths))


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("split", ["train", "validation"])
def test_split_without_labels_is_an_error(tmp_path, split):
    message = f"no utterance of the {split} split has a text and an emotion"
    refused(tmp_path, message, "set finetune_text.epochs to 0", rows=relabel(ROWS, "", split))


def test_labels_on_empty_texts_only_are_an_error(tmp_path):
    rows = [replace(row, text="") if row.split == "validation" else row for row in ROWS]
    refused(tmp_path, "no utterance of the validation split has a text and an emotion", rows=rows)


def test_one_class_is_an_error(tmp_path):
    message = "every labelled training utterance is 'joy'; two classes are needed"
    refused(tmp_path, message, rows=relabel(ROWS, "joy", "train"))


def test_scratch_without_epochs_is_an_error(tmp_path):
    refused(tmp_path, "`encoder: scratch` starts from random weights", epochs=0)


def test_scratch_without_training_text_is_an_error(tmp_path):
    rows = [replace(row, text="") for row in ROWS]
    refused(tmp_path, "learns its vocabulary from the training split's text, and there is none", rows=rows)


def test_missing_encoder_is_an_error(tmp_path):
    refused(tmp_path, "could not be loaded", "Set finetune_text.encoder", encoder=str(tmp_path / "nowhere"))


def test_window_larger_than_the_encoder_s_is_an_error(tmp_path):
    small_encoder(ROWS, max_tokens=40).save(tmp_path / "published")
    message = "has positions for 40 tokens, and max_tokens is 41. Set max_tokens to 40 or less"
    refused(tmp_path, message, encoder=str(tmp_path / "published"), max_tokens=41)


def test_too_small_window_is_refused_by_the_settings(tmp_path):
    write_params(tmp_path / "params.yaml", finetune_settings(), extract_settings())
    text = (tmp_path / "params.yaml").read_text().replace("max_tokens: 48", "max_tokens: 7")
    (tmp_path / "params.yaml").write_text(text)
    result = CliRunner().invoke(main, ["--corpus", "demo", "--params", str(tmp_path / "params.yaml")])
    assert result.exit_code == 1
    assert "demo.finetune_text.max_tokens: got 7 (int)" in result.stderr


def test_diverging_loss_is_an_error():
    tagger, task, settings = prepared(learning_rate=1.0e30)
    with pytest.raises(InputError, match="the loss is no longer a number in epoch 1"):
        train_tagger(tagger, task, settings, CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_asked_for_and_not_there_is_an_error(tmp_path):
    write_table(tmp_path / "utterances.csv", ROWS, Utterance)
    options = ["--utterances", str(tmp_path / "utterances.csv"), "--device", "cuda"]
    result = CliRunner().invoke(main, ["--corpus", "demo", *options])
    assert result.exit_code == 1 and "sees no CUDA device" in result.stderr


# ---------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Publish commits of the model me/tiny in a cache of the hub, as its client lays it out; there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache = tmp_path / "hub"
    for module in ("huggingface_hub.constants.HF_HUB_CACHE", "transformers.utils.hub.constants.HF_HUB_CACHE"):
        monkeypatch.setattr(module, str(cache))
    model = cache / "models--me--tiny"
    (model / "refs").mkdir(parents=True)

    def publish(commit: str, seed: int) -> None:
        small_encoder(ROWS, seed).save(model / "snapshots" / commit)
        (model / "refs/main").write_text(commit)

    return publish


def test_encoder_of_the_hub_is_one_commit_which_is_recorded_and_part_of_the_key(tmp_path, hub):
    old, new = "a" * 40, "b" * 40
    weights = {}
    hub(old, seed=0)
    for step, name in enumerate(["me/tiny", "me/tiny", f"me/tiny@{old}", "me/tiny@main"]):
        if step == 1:
            hub(new, seed=1)
        result = run(tmp_path / "stage", encoder=name, epochs=0)
        assert result.exit_code == 0, result.output
        commit = old if step in (0, 2) else new
        record = json.loads((tmp_path / "stage/model/revision.json").read_text())
        assert record == {"encoder": "me/tiny", "commit": commit} and f"me/tiny@{commit}" in result.stderr
        weights.setdefault(commit, set()).add(file_hash(tmp_path / "stage/model/model.safetensors"))
    assert [len(hashes) for hashes in weights.values()] == [1, 1] and not set.intersection(*weights.values())
    again = run(tmp_path / "stage", encoder="me/tiny", epochs=0)
    assert "the same model was finished earlier" in again.stderr


@pytest.mark.parametrize("name", ["me/tiny@gone", "me/gone", "@", "me/tiny@", "../gone", "[/]@\x1b[31m"])
def test_commit_that_cannot_be_had_is_refused(tmp_path, hub, name):
    hub("a" * 40, seed=0)
    if name == "me/tiny@":  # as without it
        assert run(tmp_path / "stage", encoder=name, epochs=0).exit_code == 0
    else:
        refused(tmp_path / "stage", "could not be loaded", "hf download", encoder=name, epochs=0)


def test_encoder_in_a_folder_has_no_commit(tmp_path):
    small_encoder(ROWS).save(tmp_path / "mine@home")
    assert run(tmp_path / "stage", encoder=str(tmp_path / "mine@home"), epochs=0).exit_code == 0
    assert not (tmp_path / "stage/model/revision.json").exists()


# ---------------------------------------------------------------------------------------------------- other encoders


def test_decoder_is_tuned_with_a_note_on_its_pooling(tmp_path):
    torch.manual_seed(0)
    words = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
    model = GPT2Model(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64))
    Encoder(model, word_tokenizer(words, unk_token="[UNK]")).save(tmp_path / "published")
    notes = {}
    for pooling in ("first_last", "last"):
        settings = {"encoder": str(tmp_path / "published"), "pooling": pooling, "learning_rate": 1.0e-2}
        result = run(tmp_path / pooling, epochs=4, patience=4, dropout=0.0, **settings)
        assert result.exit_code == 0, result.stderr
        notes[pooling] = "reads forwards only" in re.sub(r"\s+", " ", result.stderr)
    assert notes == {"first_last": True, "last": False}
    assert json.loads((tmp_path / "last/model/metrics.json").read_text())["validation_weighted_f1"] > 0.9


def test_encoder_that_depends_on_padding_is_tuned_without_padding(tmp_path):
    torch.manual_seed(0)
    words = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}
    Encoder(FNetModel(FNetConfig(vocab_size=64, **sizes)), word_tokenizer(words)).save(tmp_path)
    tagger, task, _ = prepared(encoder=str(tmp_path), pooling="mean")
    learner = TaggerLearner(task, finetune_settings(), CPU)
    tagger.eval()
    with torch.no_grad():
        together = learner.loss(tagger, task.validation)
        losses = [(learner.loss(tagger, [window]), len(window.rows)) for window in task.validation]
    rows = sum(count for _, count in losses)
    assert together.item() == pytest.approx(sum(loss.item() * count for loss, count in losses) / rows, abs=1e-5)


def test_layer_that_does_not_exist_is_refused_before_the_training(tmp_path):
    small_encoder(ROWS).save(tmp_path / "published")
    refused(tmp_path, "layer is '5-6'", "has 1 layers", encoder=str(tmp_path / "published"), layer="5-6")
