"""LoRA: only adapters and classifier are trained, and merging them changes no vector."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, T5Config, T5Model

from dferc.core.device import choose_device
from dferc.core.files import file_hash
from pipeline.text.encoder import Encoder, collate, load_encoder, utterance_vectors
from pipeline.text.finetuning import add_adapters, make_tagging_data
from pipeline.text.tagger import Tagger, TaggerLearner, train_tagger
from pipeline.text.windows import dialogue_windows
from tests.helpers.encoders import finetune_settings, small_encoder, talk, word_tokenizer
from tests.pipeline.test_finetune_text import refused, run

ROWS = [*talk(24), *talk(9, split="validation")]
WORDS = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
LORA = {"lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 1.0e-2}
MODELS = {
    "bert": lambda: BertModel(
        BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64)),
    "t5": lambda: T5Model(T5Config(vocab_size=64, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2)),
}


@pytest.fixture(scope="module", autouse=True)
def peft():
    return pytest.importorskip("peft")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("published")
    for name, make in MODELS.items():
        Encoder(make(), word_tokenizer(WORDS)).save(root / name)
    return root


@pytest.mark.parametrize("name", MODELS)
def test_only_adapters_and_classifier_are_trained_and_merging_changes_no_vector(folders, name):
    settings = finetune_settings(encoder=str(folders / name), epochs=2, patience=2, pooling="mean", **LORA)
    encoder = load_encoder(folders / name, 48)
    before = {key: value.clone() for key, value in encoder.model.state_dict().items()}
    torch.manual_seed(0)
    merge = add_adapters(encoder.model, settings.lora_rank, settings.lora_alpha)
    tagger = Tagger(encoder, 3, 0.0, encoder.reading("last", "mean"))
    initial = {key: value.clone() for key, value in tagger.state_dict().items()}
    assert initial and all("lora_" in key or key.startswith("classifier.") for key in initial)
    data = make_tagging_data(ROWS, encoder, settings)
    progress = train_tagger(tagger, data, settings, choose_device("cpu", "float32"))
    assert progress.best.keys() == initial.keys()
    frozen = {key.replace(".base_layer", ""): value for key, value in encoder.model.state_dict().items()}
    assert all(torch.equal(frozen[key], value) for key, value in before.items())
    assert any(not torch.equal(value, initial[key]) for key, value in tagger.state_dict().items() if "lora_" in key)

    batch = collate(dialogue_windows(ROWS, encoder.tokenizer, 48)[0], encoder.pad)
    with torch.no_grad():
        unmerged = utterance_vectors(encoder.model.eval(), batch, tagger.reading)
        merge()
        merged = utterance_vectors(encoder.model, batch, tagger.reading)
    torch.testing.assert_close(merged, unmerged, rtol=0, atol=1e-5)
    after = encoder.model.state_dict()
    assert after.keys() == before.keys() and any(not torch.equal(after[key], before[key]) for key in before)


def test_stage_learns_by_adapters_and_writes_an_encoder_like_any_other(folders, tmp_path, monkeypatch):
    result = run(tmp_path, ROWS, encoder=str(folders / "bert"), epochs=6, patience=6, **LORA)
    assert result.exit_code == 0, result.stderr
    assert "LoRA of rank 4" in result.stderr and "the others are frozen" in result.stderr
    metrics = json.loads((tmp_path / "model/metrics.json").read_text())
    assert metrics["validation_weighted_f1"] > 0.8  # a guess among three: about 0.3
    assert not (tmp_path / "model/adapter_config.json").exists()
    before, after = (load_file(path / "model.safetensors") for path in (folders / "bert", tmp_path / "model"))
    assert {key for key in before if "pooler" not in key} == after.keys()
    monkeypatch.setitem(sys.modules, "peft", None)  # as if it were not installed
    assert load_encoder(tmp_path / "model", 48).width == 32


def test_interrupted_stage_resumes_to_the_same_bytes(folders, tmp_path, monkeypatch):
    settings = {"encoder": str(folders / "bert"), "epochs": 3, "patience": 3, **LORA}
    assert run(tmp_path / "whole", ROWS, **settings).exit_code == 0
    score, calls = TaggerLearner.score, []

    def interrupted(self, tagger):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, tagger)

    monkeypatch.setattr(TaggerLearner, "score", interrupted)
    assert run(tmp_path / "stopped", ROWS, **settings).exit_code == 130
    (state,) = (tmp_path / "stopped/scratch").glob("*/text.pt")
    weights = torch.load(state, weights_only=True)["machinery"]["model"]
    assert all("lora_" in key or key.startswith("classifier.") for key in weights)
    resumed = run(tmp_path / "stopped", ROWS, **settings)
    assert resumed.exit_code == 0 and "resumes after epoch 1" in resumed.stderr
    for name in ("model.safetensors", "classifier.safetensors", "history.csv"):
        assert file_hash(tmp_path / "whole/model" / name) == file_hash(tmp_path / "stopped/model" / name)


def test_missing_package_is_named(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    refused(tmp_path, "lora_rank is 4", "`pip install peft`", rows=ROWS, encoder=str(folders / "bert"), **LORA)


def test_encoder_from_scratch_has_nothing_to_adapt(tmp_path):
    refused(tmp_path, "starts from random weights", "lora_rank to 0", rows=ROWS, encoder="scratch", **LORA)


def test_full_training_is_as_before(tmp_path):
    """The state of a tagger without adapters holds all its weights."""
    tagger = Tagger(small_encoder(ROWS), 3, 0.0)
    state = tagger.state_dict()
    assert {key for key, _ in tagger.named_parameters()} <= state.keys()
    with pytest.raises(RuntimeError, match="Missing key"):
        tagger.load_state_dict({key: value for key, value in state.items() if "classifier" not in key})
