"""Tiny speech encoders with random weights, one of each class, and the vectors that the classes themselves give."""

import re
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from pipeline.encoders.opening import quiet_transformers
from tests.helpers.corpora import REPOSITORY

WIDTH = 32

_USUAL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_WHISPER = {
    "d_model": WIDTH,
    "vocab_size": 100,
    "decoder_layers": 1,
    "encoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    **dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1),
}
CLASSES = {
    "wav2vec2": ("Wav2Vec2", _USUAL | _LAYER_NORM),
    "wav2vec2-base": ("Wav2Vec2", _USUAL | {"feat_extract_norm": "group"}),
    "hubert": ("Hubert", _USUAL | _LAYER_NORM),
    "wavlm": ("WavLM", _USUAL | _LAYER_NORM),
    "data2vec-audio": ("Data2VecAudio", _USUAL | {"num_conv_pos_embeddings": 3}),
    "sew": ("SEW", _USUAL | {"conv_dim": (16,) * 13, "feat_extract_norm": "layer"}),
    "unispeech": ("UniSpeech", _USUAL | _LAYER_NORM),
    "wav2vec2-bert": ("Wav2Vec2Bert", {key: _USUAL[key] for key in list(_USUAL)[:4]}),
    "whisper": ("Whisper", _WHISPER),
}
"""Names of classes without `Model` and `Config`, and their settings."""

PADDED = {"wav2vec2", "wav2vec2-bert", "hubert", "wavlm", "unispeech", "whisper"}
"""Classes whose states do not depend on padding."""


def write_speech_encoder(folder: Path, name: str = "wavlm", seed: int = 0, rate_hz: int = 16000) -> Path:
    """Write a model of a class of `CLASSES` and its feature extractor into a folder; return the folder."""
    kind, settings = CLASSES[name]
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        config = getattr(transformers, f"{kind}Config")(**settings)
        getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    prepares = {"whisper": "Whisper", "wav2vec2-bert": "SeamlessM4T"}.get(name, "Wav2Vec2")
    getattr(transformers, f"{prepares}FeatureExtractor")(sampling_rate=rate_hz).save_pretrained(folder)
    return folder


def write_speech_params(path: Path, encoder: Path, **changes: object) -> Path:
    """Write params.yaml with a speech encoder, and other values in the audio section; return the path."""
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    before, section, after = re.split(r"(?ms)^(extract_audio: &.*?)(?=^\w)", params)
    for key, value in ({"encoder": encoder} | changes).items():
        section, count = re.subn(rf"(?m)^  {key}: \S+", f"  {key}: {value}", section)
        assert count == 1, key
    path.write_text(before + section + after, encoding="utf-8")
    return path


def direct_states(folder: Path, samples_S: np.ndarray, layer: int = -1) -> np.ndarray:
    """Return the states [T, D] of one sound as the class itself gives them, in full and without padding."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    with quiet_transformers():
        model: PreTrainedModel = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = extractor(samples_S, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    frames = int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else None  # of Wav2Vec2-BERT
    if model.config.is_encoder_decoder:
        model, frames = model.get_encoder(), -(-len(samples_S) // 320)  # 160 samples to a column, two to a state
    with torch.inference_mode():
        output = model(**inputs, output_hidden_states=True)
    states = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
    return states[0, :frames].numpy()
