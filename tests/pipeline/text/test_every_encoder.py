"""Every architecture of the installed transformers as a text encoder, with tiny random weights: works, or is refused.

Run by `make test-long` alone: some hundred architectures take minutes.
"""

import os
import warnings

import pytest
import torch
from transformers import CONFIG_MAPPING, MODEL_MAPPING

from dferc.core.device import choose_device
from dferc.core.errors import InputError
from pipeline.encoders.batches import Batching, batches_by_length
from pipeline.encoders.kinds import kinds_of
from pipeline.text.encoder import Encoder, collate, load_encoder, utterance_vectors
from pipeline.text.finetuning import fine_tune
from pipeline.text.windows import dialogue_windows
from tests.helpers.encoders import finetune_settings, talk, word_tokenizer

LEFT_OUT = pytest.param("all", marks=pytest.mark.skip(reason="`make test-long` sweeps some hundred architectures"))
LARGEST = 20_000_000  # parameters of a model that is tried
ROWS = [*talk(4), *talk(2, split="validation")]
WORDS = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "d_inner", "ffn_dim", "encoder_ffn_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "encoder_attention_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("vocab_size",), 64),
    **dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id"), 0
    ),
    "head_dim": 16,
    "entity_vocab_size": 8,
    "entity_emb_size": 8,
    "max_position_embeddings": 96,
}
WORK = frozenset(
    (
        "albert bart bert big_bird bloom camembert canine convbert deberta-v2 distilbert electra eurobert "
        "falcon fnet funnel gemma gpt2 gpt_neo gpt_neox gptj llama longformer luke mamba mbart mistral "
        "modernbert mpnet mt5 nystromformer opt phi3 qwen2 qwen3 rembert roberta roformer t5 xlm xlm-roberta "
        "xlnet"
    ).split()
)
"""Encoders that must work, not only be refused."""


OWN_SIZES = {  # None: the setting is left out
    "codegen": {"rotary_dim": 8, "n_head": 4, "num_attention_heads": None},
    "deepseek_v3": {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "head_dim": None},
    "esm": {"vocab_size": 64, "pad_token_id": 0, "mask_token_id": 5},
    "funnel": {"block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 32, "vocab_size": 64},
    "falcon": {"head_dim": None},
    "gpt_neo": {"attention_types": [[["global"], 1]]},
    "gptj": {"rotary_dim": 8},
    "mamba2": {"num_heads": 4},
    "plbart": {"decoder_attention_heads": 2},
    "prophetnet": {"num_hidden_layers": None, "num_attention_heads": None}
    | dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), 1)
    | dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 2),
    "rwkv": {"num_hidden_layers": 2},
    "xlnet": {"max_position_embeddings": None},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local"], "is_decoder": False},
}


def tiny_config(make, own):
    """Return the configuration of an architecture with small sizes where it has such settings, or its own ones."""
    usual = make()
    parts = {name: tiny_settings(getattr(usual, name)) for name in usual.sub_configs if getattr(usual, name, None)}
    settings = (tiny_settings(usual) if "block_sizes" not in own else {}) | parts | own
    return make(**{name: value for name, value in settings.items() if value is not None})


def tiny_settings(config):
    known = {name: getattr(config, name, None) for name in SIZES}
    return {name: SIZES[name] for name, value in known.items() if isinstance(value, int)}


def sweep(model_type, folder):
    """Return what the stages make of an architecture: `works`, the refusal, or why there is no such model."""
    torch.manual_seed(0)
    try:
        make = CONFIG_MAPPING[model_type]
        if "text" in kinds_of(make()):
            model = MODEL_MAPPING[make]
            model = model[0] if isinstance(model, tuple) else model
            config = tiny_config(make, OWN_SIZES.get(model_type, {}))
            with torch.device("meta"):
                size = model(config).num_parameters()
            if size > LARGEST:
                return f"not built: {size:,} parameters with the small sizes of this test"
            Encoder(model(config), word_tokenizer(WORDS)).save(folder)
        else:  # refused by its configuration: weights would only be written in vain
            make().save_pretrained(folder)
    except Exception as error:  # the sizes above do not suit it
        return f"not built: {type(error).__name__}: {error}"
    try:
        fine_tune(
            ROWS, finetune_settings(encoder=str(folder), epochs=1), choose_device("cpu", "float32"), folder / "tuned"
        )
        encoder = load_encoder(folder / "tuned", 48)
        windows, _ = dialogue_windows(ROWS, encoder.tokenizer, 48)
        alone = vectors_of(encoder, [[index] for index in range(len(windows))], windows)
        assert alone.shape == (len(ROWS), encoder.width) and alone.isfinite().all()
        for budget in (8 * 48, 32 * 48):
            batches = batches_by_length([len(window) for window in windows], budget, encoder.batching)
            assert (vectors_of(encoder, batches, windows) - alone).abs().max() <= 1e-5
    except InputError as error:
        return f"refused: {error}"
    return "works" if encoder.batching is Batching.PADDED else f"works {encoder.batching}"


@torch.no_grad()
def vectors_of(encoder, batches, windows):
    """Return the vectors of all rows, encoded in these batches."""
    vectors = torch.zeros(len(ROWS), encoder.width)
    for indices in batches:
        batch = collate([windows[index] for index in indices], encoder.pad)
        vectors[batch.row_U] = utterance_vectors(encoder.model.eval(), batch)
    return vectors


def architectures() -> list:
    if "DFERC_LONG" not in os.environ:  # to list them imports them all
        return [LEFT_OUT]
    return sorted(name for name in CONFIG_MAPPING if CONFIG_MAPPING[name] in MODEL_MAPPING)


@pytest.mark.parametrize("model_type", architectures())
def test_architecture_works_or_is_refused(tmp_path, model_type):
    with warnings.catch_warnings(action="ignore"):
        outcome = sweep(model_type, tmp_path)
    if outcome.startswith("not built"):
        pytest.skip(outcome)
    assert outcome.startswith("works") or model_type not in WORK, outcome
    assert len(outcome) < 1000
