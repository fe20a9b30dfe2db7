"""Text features of docs/method.md §0 over a whole corpus, whatever the batches, the kills and the texts."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import FNetConfig, FNetModel

from dferc.core.device import choose_device
from dferc.store.hdf5 import read_features
from pipeline.extract_text import main, make_extractor, tokenizer_hash
from pipeline.extraction.records import Record
from pipeline.text import encoding
from pipeline.text.encoder import Encoder, collate, load_encoder, utterance_vectors
from pipeline.text.encoding import encode
from pipeline.text.folds import write_folds
from pipeline.text.windows import dialogue_windows
from tests.helpers.corpora import REPOSITORY, make_row, run_stage, stage_arguments, write_rows
from tests.helpers.encoders import (
    extract_settings,
    finetune_settings,
    naive_vectors,
    small_encoder,
    talk,
    word_tokenizer,
    write_params,
)

CPU = choose_device("cpu", "float32")
ROWS = [*talk(30), *talk(12, split="test")]


def prepare(folder, rows=ROWS, seed=0, **settings):
    """Write the rows, a params file and an untrained encoder where `options` says."""
    write_rows(folder, rows)
    write_params(folder / "params.yaml", finetune_settings(), extract_settings(**settings))
    small_encoder(ROWS, seed=seed).save(folder / "model")
    return folder


def options(folder, **changes):
    return {
        "params": folder / "params.yaml",
        "encoder": folder / "model",
        "device": "cpu",
        "batch-tokens": 256,
    } | changes


def extract(folder, **changes):
    """Run the stage; returns its features, its problems (utterance, problem, consequence), and its output."""
    result = run_stage(main, folder, **options(folder, **changes))
    assert result.exit_code == 0, result.stderr
    with open(folder / "problems.csv", encoding="utf-8", newline="") as file:
        problems = [(row["where"], row["problem"], row["consequence"]) for row in csv.DictReader(file)]
    return read_features(folder / "out.h5", "text"), problems, result.stderr


def counts(output):
    return tuple(map(int, re.search(r"(\d+) done, (\d+) reused, (\d+) failed, (\d+) absent", output).groups()))


@pytest.mark.parametrize(("max_tokens", "window"), [(48, "dialogue"), (14, "dialogue"), (14, "overlapping")])
def test_features_equal_the_naive_reference(tmp_path, max_tokens, window):
    made, _, output = extract(prepare(tmp_path, max_tokens=max_tokens, window=window))
    encoder = load_encoder(tmp_path / "model", max_tokens)
    encoder.model.eval()
    windows, _ = dialogue_windows(ROWS, encoder.tokenizer, max_tokens, window, extract_settings().context_share)
    assert max_tokens == 48 or len(windows) > len({row.dialogue_id for row in ROWS})
    expected = naive_vectors(encoder, windows)
    assert made.present.all() and counts(output) == (len(ROWS), 0, 0, 0)
    for row, vector in expected.items():
        np.testing.assert_allclose(made.features[row], vector.numpy(), rtol=0, atol=1e-5)


def test_batch_size_moves_features_by_rounding_at_most(tmp_path):
    prepare(tmp_path)
    made = {size: extract(tmp_path, **{"batch-tokens": size})[0] for size in (1, 200, 100_000)}
    for size in (1, 200):
        np.testing.assert_allclose(made[size].features, made[100_000].features, rtol=0, atol=1e-5)
        assert made[size].identity == made[100_000].identity


def test_utterance_without_text_is_not_present_and_listed(tmp_path):
    rows = [replace(row, text=" ") if row.utterance_id == "train-5-2" else row for row in ROWS]
    made, problems, output = extract(prepare(tmp_path, rows))
    (row,) = np.flatnonzero(~made.present)
    assert made.utterance_id[row] == "train-5-2" and not made.features[row].any()
    assert problems == [("train-5-2", "no text: ' '", "text not present")]
    assert counts(output) == (len(ROWS) - 1, 0, 1, 0)


def test_utterance_that_is_cut_is_present_and_listed(tmp_path):
    rows = [replace(row, text="x " * 99) if row.utterance_id == "train-5-2" else row for row in ROWS]
    made, problems, _ = extract(prepare(tmp_path, rows))
    assert made.present.all()
    ((where, problem, consequence),) = problems
    assert (where, consequence) == ("train-5-2", "what there is was used")
    assert re.fullmatch(r"text too long: \d+ tokens, cut to 46 \(max_tokens 48\)", problem)


def test_corpus_without_any_text_has_no_text_features(tmp_path):
    made, problems, output = extract(prepare(tmp_path, [make_row(f"u{n}", text="") for n in range(3)]))
    assert not made.present.any() and made.width == 32
    assert len(problems) == 3 and counts(output) == (0, 0, 3, 0)


def test_states_that_are_not_finite_fail_and_are_listed(tmp_path):
    prepare(tmp_path)
    broken = small_encoder(ROWS)
    with torch.no_grad():
        broken.model.encoder.layer[0].output.dense.bias[0] = torch.inf
    broken.save(tmp_path / "model")
    made, problems, output = extract(tmp_path)
    assert not made.present.any() and counts(output) == (0, 0, len(ROWS), 0)
    problem = "values not finite: the encoder's states, computed in torch.float32"
    assert problems == [(row.utterance_id, problem, "text not present") for row in ROWS]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.1), ("float16", 0.02)])
def test_gpu_gives_the_cpu_s_features_within_its_precision(tmp_path, precision, tolerance):
    prepare(tmp_path, precision=precision)
    expected, _, _ = extract(tmp_path)
    made, _, _ = extract(tmp_path, device="cuda")
    assert made.identity["computed_in"] == precision
    np.testing.assert_allclose(made.features, expected.features, rtol=0, atol=tolerance)


# ---------------------------------------------------------------------------------------------------- reuse


def test_rerun_reuses_everything_and_writes_the_same_bytes(tmp_path):
    prepare(tmp_path)
    extract(tmp_path)
    first = (tmp_path / "out.h5").read_bytes()
    _, _, output = extract(tmp_path)
    assert counts(output) == (0, len(ROWS), 0, 0)
    assert (tmp_path / "out.h5").read_bytes() == first


def test_dialogues_added_at_the_end_leave_full_batches_finished(tmp_path):
    extract(prepare(tmp_path))
    more = [*ROWS, *talk(3, split="validation")]
    prepare(tmp_path, more)
    made, _, output = extract(tmp_path)
    done, reused, *_ = counts(output)
    assert done + reused == len(more)
    assert len(more) - len(ROWS) < done < reused
    expected, _, _ = extract(tmp_path, scratch=tmp_path / "empty.sqlite")
    assert np.array_equal(made.features, expected.features)


def test_overlapping_windows_change_what_they_give_context_to(tmp_path):
    """Not what is in its dialogue's first window, nor an utterance that fills a window alone."""
    plain, _, _ = extract(prepare(tmp_path, max_tokens=24))
    overlapping, _, _ = extract(prepare(tmp_path, max_tokens=24, window="overlapping"))
    tokenizer = load_encoder(tmp_path / "model", 24).tokenizer
    inputs = [
        {row: window.tokens for window in dialogue_windows(ROWS, tokenizer, 24, kind, 0.5)[0] for row in window.rows}
        for kind in ("dialogue", "overlapping")
    ]
    same = np.array([inputs[0][row] == inputs[1][row] for row in range(len(ROWS))])
    moved = np.abs(plain.features - overlapping.features).max(axis=1)
    assert 20 < same.sum() < len(ROWS) - 20
    assert moved[same].max() < 1e-5 and moved[~same].min() > 1e-3


@pytest.mark.parametrize("change", [{"seed": 1}, {"max_tokens": 47}])
def test_other_weights_or_settings_compute_anew(tmp_path, change):
    first, _, _ = extract(prepare(tmp_path))
    second, _, output = extract(prepare(tmp_path, **change))
    assert counts(output) == (len(ROWS), 0, 0, 0)
    assert first.identity != second.identity


def test_identity_names_what_made_the_values(tmp_path):
    made, _, _ = extract(prepare(tmp_path))
    own = {"extractor", "params", "computed_in", "model", "tokenizer"}
    assert set(made.identity) == own | {"rows_hash", "content_hash"}
    assert made.identity["params"] == {"window": "dialogue", "max_tokens": 48, "precision": "float32"}
    assert made.identity["computed_in"] == "float32"  # the CPU's, whatever the params section asks of CUDA


def test_identity_names_the_context_share_only_where_it_has_an_effect(tmp_path):
    prepare(tmp_path)
    identities = {
        (window, share): make_extractor(
            ROWS, extract_settings(window=window, context_share=share), tmp_path / "model", CPU
        ).identity
        for window in ("dialogue", "overlapping")
        for share in (0.2, 0.5)
    }
    assert identities["dialogue", 0.2] == identities["dialogue", 0.5]
    assert identities["overlapping", 0.2] != identities["overlapping", 0.5]


@pytest.mark.parametrize(("layer", "pooling", "width"), [("0-1", "mean_std", 64), ("-1", "last", 32)])
def test_layer_and_pooling_are_those_of_the_settings_and_of_the_identity(tmp_path, layer, pooling, width):
    made, _, _ = extract(prepare(tmp_path, layer=layer, pooling=pooling))
    assert made.identity["params"]["layer"] == layer and made.identity["params"]["pooling"] == pooling
    encoder = load_encoder(tmp_path / "model", 48)
    batch = collate(dialogue_windows(ROWS, encoder.tokenizer, 48)[0], encoder.pad)
    with torch.no_grad():
        vectors = utterance_vectors(encoder.model, batch, encoder.reading(layer, pooling)).numpy()
    assert made.width == width
    np.testing.assert_allclose(made.features[batch.row_U.numpy()], vectors, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "tuned"),
    [
        ({"pooling": "mean"}, "pooling first_last"),
        ({"layer": "0", "pooling": "mean"}, "layer last, pooling first_last"),
        ({"window": "utterance"}, "window dialogue"),
        ({"max_tokens": 24}, "max_tokens 48"),
    ],
)
def test_another_reading_than_the_tuned_one_is_noted_of_the_corpus_own_encoder(tmp_path, monkeypatch, changes, tuned):
    monkeypatch.chdir(tmp_path)
    Path("models/demo").mkdir(parents=True)
    Path("models/demo/text").symlink_to(tmp_path / "model")
    outputs = []
    for number, (settings, own) in enumerate([({}, True), (changes, True), (changes, False)]):
        arguments = options(prepare(tmp_path, **settings), scratch=tmp_path / f"{number}.sqlite")
        result = run_stage(
            main, tmp_path, **{name: arguments[name] for name in arguments if not own or name != "encoder"}
        )
        assert result.exit_code == 0, result.stderr
        outputs.append(re.sub(r"\s+", " ", result.stderr))
    note = f"was tuned with {tuned} (finetune_text), and extract_text has other values"
    assert [note in output for output in outputs] == [False, True, False]


def test_further_set_takes_a_published_encoder_from_its_folder(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    item = "{<<: *extract_text, corpus: demo, name: raw, encoder: model, max_tokens: 48, layer: 1, pooling: mean_std}"
    (tmp_path / "params.yaml").write_text(text.replace("  text: []", f"  text: [{item}]"), encoding="utf-8")
    there = ["--corpus=demo", "--set=text/raw", "--device=cpu", "--utterances=utterances.h5", "--table=utterances.csv"]
    done = CliRunner().invoke(main, there)
    assert done.exit_code == 0, done.output
    made = read_features(tmp_path / "features/demo/text/raw.h5", "text")
    assert made.width == 64 and made.identity["params"]["layer"] == "1" and made.present.all()
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    done = CliRunner().invoke(main, there)
    printed = re.sub(r"\s+", " ", done.stderr)
    assert done.exit_code == 1 and "model, the encoder of the set text/raw" in printed and "hf download" in printed


def test_layer_that_does_not_exist_is_refused_before_any_work(tmp_path):
    result = run_stage(main, prepare(tmp_path, layer="2"), **options(tmp_path))
    assert result.exit_code == 1 and "has 1 layers" in result.stderr
    assert not (tmp_path / "out.h5").exists()


def test_encoder_that_mixes_padding_in_runs_unpadded_which_is_noted(tmp_path):
    prepare(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}
    words = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
    Encoder(FNetModel(FNetConfig(vocab_size=64, **sizes)), word_tokenizer(words)).save(tmp_path / "model")
    made, _, output = extract(tmp_path)
    assert "encoded without padding, equal lengths" in re.sub(r"\s+", " ", output)
    alone, _, _ = extract(tmp_path, **{"batch-tokens": 1, "scratch": tmp_path / "other.sqlite"})
    np.testing.assert_allclose(made.features, alone.features, rtol=0, atol=1e-5)


def test_killed_stage_makes_the_same_bytes_and_pays_for_the_rest_only(tmp_path):
    prepare(tmp_path)
    assert (
        run_stage(
            main, tmp_path, **options(tmp_path, out=tmp_path / "quiet.h5", scratch=tmp_path / "quiet.sqlite")
        ).exit_code
        == 0
    )
    kill_in_the_sixth_batch = (
        "import os, signal, sys; from pipeline import extract_text; from pipeline.text import encoding\n"
        "real, calls = encoding.encode, []\n"
        "def encode(*arguments):\n"
        "    calls.append(1); len(calls) == 6 and os.kill(os.getpid(), signal.SIGKILL); return real(*arguments)\n"
        "encoding.encode = encode; extract_text.main(sys.argv[1:])"
    )
    arguments = stage_arguments(tmp_path, **options(tmp_path))
    killed = subprocess.run(
        [sys.executable, "-c", kill_in_the_sixth_batch, *arguments], cwd=REPOSITORY, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "out.h5").exists()
    _, _, output = extract(tmp_path)
    done, reused, failed, absent = counts(output)
    assert done + reused == len(ROWS) and (failed, absent) == (0, 0)
    assert 0 < reused < len(ROWS)
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "quiet.h5").read_bytes()


def test_asking_for_one_utterance_computes_its_batch_alone_and_to_the_same_bits(tmp_path, monkeypatch):
    prepare(tmp_path)
    extractor = make_extractor(ROWS, extract_settings(), tmp_path / "model", CPU, batch_tokens=256)
    everything = dict(extractor.compute(list(range(len(ROWS)))))
    assert sorted(everything) == list(range(len(ROWS)))
    batches = []
    monkeypatch.setattr(encoding, "encode", lambda *given: batches.append(1) or encode(*given))
    ((row, alone),) = extractor.compute([7])
    assert len(batches) == 1
    assert row == 7 and isinstance(alone, Record)
    assert np.array_equal(alone.arrays["features"], everything[7].arrays["features"])


# ---------------------------------------------------------------------------------------------------- bad input


def test_missing_encoder_says_how_to_make_it(tmp_path):
    prepare(tmp_path)
    result = run_stage(main, tmp_path, **options(tmp_path, encoder=tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert "nowhere is missing. Make it with `python -m pipeline.finetune_text --corpus demo`" in result.stderr


def test_folder_without_weights_is_an_error(tmp_path):
    (prepare(tmp_path) / "model" / "model.safetensors").unlink()
    result = run_stage(main, tmp_path, **options(tmp_path))
    assert result.exit_code == 1 and "could not be loaded" in result.stderr


def test_window_larger_than_the_encoder_s_is_an_error(tmp_path):
    result = run_stage(main, prepare(tmp_path, max_tokens=49), **options(tmp_path))
    assert result.exit_code == 1
    assert "has positions for 48 tokens, and max_tokens is 49" in result.stderr


def test_equal_dialogues_of_two_folds_have_each_the_vectors_of_their_own_encoder(tmp_path):
    """As IEMOCAP's scripted scenarios, spoken twice: a fold's encoder was tuned on the other's labels."""
    rows = [
        make_row(f"{dialogue}-{place}", text=text, dialogue_id=dialogue, position=place)
        for dialogue in ("one", "two", "three")
        for place, text in enumerate(("w1 w2 w3", "w4 w5"))
    ]
    prepare(tmp_path, rows)
    for fold in range(2):
        small_encoder(ROWS, seed=fold + 1).save(tmp_path / f"model/fold-{fold}")
    write_folds(tmp_path / "model", {"one": 0, "two": 1, "three": 0})
    made, _, _ = extract(tmp_path, **{"batch-tokens": 12})
    one, two, three = made.features[:2], made.features[2:4], made.features[4:]
    assert np.array_equal(one, three) and np.abs(one - two).max() > 1e-3
    again, _, output = extract(tmp_path, **{"batch-tokens": 12})
    assert counts(output)[1] == len(rows) and np.array_equal(again.features, made.features)


def test_another_tokenizer_is_another_identity(tmp_path):
    first, _, _ = extract(prepare(tmp_path))
    path = tmp_path / "model/tokenizer.json"
    text = json.loads(path.read_text())
    text["model"]["merges"] = text["model"]["merges"][:-3]
    path.write_text(json.dumps(text))
    second, _, _ = extract(tmp_path)
    assert first.identity["model"] == second.identity["model"]
    assert first.identity["tokenizer"] != second.identity["tokenizer"]


def test_tokenizer_is_known_by_what_makes_tokens_alone():
    """MiniLM's file states a truncation and a padding; the first text that is tokenised takes both out."""
    tokenizer, other = (word_tokenizer("a b c") for _ in range(2))
    other.backend_tokenizer.enable_truncation(128)
    other.backend_tokenizer.enable_padding(length=128)
    assert tokenizer_hash(tokenizer) == tokenizer_hash(other)
