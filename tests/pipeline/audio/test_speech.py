"""Speech encoders, against the classes of transformers themselves; tiny ones with random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import MoonshineConfig, MoonshineModel, Wav2Vec2FeatureExtractor

from dferc.core.device import Device, choose_device
from dferc.core.errors import InputError
from pipeline.audio import speech
from pipeline.audio.hearing import Heard
from pipeline.audio.speech import SoundPiece, SpeechWorker, join, load_speech_encoder, pieces_of
from pipeline.encoders.batches import Batching
from tests.helpers.clips import tone
from tests.helpers.encoders import small_encoder, talk
from tests.helpers.speech_encoders import CLASSES, PADDED, WIDTH, direct_states, write_speech_encoder

CPU = choose_device("cpu", "float32")
LENGTHS_S = (0.05, 0.0713, 0.3, 1.0, 3.7)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write an encoder of each class."""
    root = tmp_path_factory.mktemp("encoders")
    return {name: write_speech_encoder(root / name, name) for name in CLASSES}


@pytest.fixture(scope="module", params=CLASSES)
def encoder(request, folders):
    """Load an encoder of each class."""
    return load_speech_encoder(str(folders[request.param]), "last")


def sound(seconds: float, hz: float = 200.0) -> np.ndarray:
    return tone(seconds, hz=hz)[0] + np.random.default_rng(int(hz)).normal(0, 0.01, round(seconds * 16000)).astype("f4")


def whole(samples_S: np.ndarray) -> SoundPiece:
    return SoundPiece(samples_S, 0, len(samples_S))


def encode(encoder, heard, pooling="mean", most_s=30.0, margin_s=1.0, batch_s=0.0, batching=Batching.SINGLE):
    """Return the records of utterances."""
    worker = SpeechWorker(encoder, pooling, min(most_s, encoder.most_s), margin_s, "cpu", "float32", batch_s, batching)
    return worker(heard).result


@pytest.mark.parametrize("seconds", [*LENGTHS_S, 40.0])
def test_vector_is_the_mean_of_the_states_that_the_class_gives(encoder, seconds):
    samples_S = sound(min(seconds, encoder.most_s))
    [(frames, vector)] = encoder.vectors([whole(samples_S)], CPU, "mean_std")
    if len(samples_S) < encoder.least:
        samples_S = np.pad(samples_S, (0, encoder.least - len(samples_S)))
    states_TD = direct_states(encoder.folder, samples_S)
    assert frames == len(states_TD)
    expected = np.concatenate([states_TD.mean(axis=0), states_TD.std(axis=0)])
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_layers_are_those_of_the_class(folders):
    samples_S = sound(1.0)
    first, second = (direct_states(folders["hubert"], samples_S, layer).mean(axis=0) for layer in (1, 2))
    for layer, expected in {"1": first, "-2": first, "1-2": (first + second) / 2, "all": (first + second) / 2}.items():
        encoder = load_speech_encoder(str(folders["hubert"]), layer)
        [(_, vector)] = encoder.vectors([whole(samples_S)], CPU, "mean")
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    with pytest.raises(InputError, match="layer is '3'.* has 2 layers"):
        load_speech_encoder(str(folders["hubert"]), "3")


def test_each_class_has_layers(encoder):
    """SEW's have half the frames of its final states."""
    samples_S = sound(1.0)
    chosen = load_speech_encoder(str(encoder.folder), "1")
    [(frames, vector)] = chosen.vectors([whole(samples_S)], CPU, "mean")
    states_TD = direct_states(encoder.folder, samples_S, layer=1)
    assert frames == len(states_TD)
    np.testing.assert_allclose(vector, states_TD.mean(axis=0), atol=1e-5)


def test_encoders_whose_states_depend_on_padding_are_found(encoder):
    assert (encoder.batching is Batching.PADDED) == (encoder.folder.name in PADDED)


@pytest.mark.parametrize("count", [1, 8, 32])
def test_batches_change_no_vector(encoder, count):
    if encoder.most:
        count = min(count, 8)  # each takes 30 s of computing
    rng = np.random.default_rng(0)
    heard = [
        Heard(s, 0, len(s))
        for s in (sound(length, hz) for length, hz in zip(rng.uniform(0.05, 2, count), range(100, 200)))
    ]
    together = encode(encoder, heard, batch_s=60.0, batching=encoder.batching)
    alone = encode(encoder, heard)
    for one, two in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.arrays["features"], two.arrays["features"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float16, 0.002)])
def test_half_precision_gives_the_vectors_within_its_rounding(encoder, monkeypatch, dtype, tolerance):
    """As on a GPU, which this machine may lack: the same code with PyTorch's half precision of the CPU."""
    heard = [Heard(s, 0, len(s)) for s in (sound(0.05), sound(0.4), sound(2.0, 300.0))]
    expected, batching = encode(encoder, heard), encoder.batching
    monkeypatch.setattr(speech, "choose_device", lambda *_: Device(torch.device("cpu"), dtype, "half precision"))
    computed = []
    hook = encoder.model.register_forward_hook(lambda *_: computed.append(torch.get_autocast_dtype("cpu")))
    found = encode(encoder, heard, batch_s=60.0, batching=batching)
    hook.remove()
    assert set(computed) == {dtype}
    for one, two in zip(found, expected, strict=True):
        one, two = one.arrays["features"], two.arrays["features"]
        assert one.dtype == np.float32 and not np.array_equal(one, two)
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * max(1.0, np.abs(two).max()))


def test_padded_batches_are_what_is_compared(folders):
    """Without the check, an encoder with group norm gives other vectors in a batch."""
    encoder = load_speech_encoder(str(folders["wav2vec2-base"]), "last")
    heard = [Heard(s, 0, len(s)) for s in (sound(1.0), sound(1.02))]
    one, two = (
        encode(encoder, heard, batch_s=60.0, batching=b)[0].arrays["features"]
        for b in (Batching.PADDED, Batching.SINGLE)
    )
    assert np.abs(one - two).max() > 1e-4


def test_encoder_that_counts_the_frames_of_one_sound_at_a_time_is_used(tmp_path):
    """Moonshine."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": 64, "vocab_size": 50}
    parts = ("encoder_num_hidden_layers", "decoder_num_hidden_layers")
    heads = dict.fromkeys(("encoder_num_attention_heads", "decoder_num_attention_heads"), 2)
    MoonshineModel(MoonshineConfig(**sizes, **dict.fromkeys(parts, 1), **heads)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    encoder, heard = load_speech_encoder(str(tmp_path), "last"), sound(1.0)
    [(frames, vector)] = encoder.vectors([whole(heard)], CPU, "mean")
    with torch.inference_mode():
        [states_TD] = encoder.model(torch.from_numpy(heard)[None]).last_hidden_state
    assert frames == len(states_TD)
    np.testing.assert_allclose(vector, states_TD.mean(dim=0), rtol=0, atol=1e-5)
    together = encoder.vectors([whole(heard), whole(sound(1.0, 300.0))], CPU, "mean")
    np.testing.assert_allclose(together[0][1], vector, rtol=0, atol=1e-5)


def test_only_frames_of_the_utterance_are_pooled(folders):
    encoder = load_speech_encoder(str(folders["wavlm"]), "last")
    samples_S = sound(3.0)
    [record] = encode(encoder, [Heard(samples_S, 16000, 32000)])
    states_TD = direct_states(folders["wavlm"], samples_S)
    centres_T = 320 * np.arange(len(states_TD)) + 200  # of the first layer's field of 400 samples
    own = states_TD[(centres_T >= 16000) & (centres_T < 32000)].mean(axis=0)
    np.testing.assert_allclose(record.arrays["features"], own, atol=0.02 * np.abs(own).max())
    [alone] = encode(encoder, [Heard(samples_S[16000:32000], 0, 16000)])
    assert np.abs(alone.arrays["features"] - record.arrays["features"]).max() > 1e-3  # it did hear the surroundings


def test_utterance_shorter_than_a_frame_has_the_nearest_one(folders):
    encoder = load_speech_encoder(str(folders["wavlm"]), "last")
    samples_S = sound(1.0)
    [(frames, vector)] = encoder.vectors([SoundPiece(samples_S, 8000, 8010)], CPU, "mean")
    states_TD = direct_states(folders["wavlm"], samples_S)
    assert frames == 1 and min(np.abs(states_TD - vector).max(axis=1)[23:27]) < 1e-5


@pytest.mark.parametrize(("begin", "end"), [(0, 700), (150, 650), (0, 101)])
def test_pieces_cover_the_utterance_once_and_hear_a_margin(begin, end):
    samples_S = np.arange(700, dtype=np.float32)
    pieces = pieces_of(Heard(samples_S, begin, end), 100, 20)
    own = np.concatenate([piece.samples_S[piece.begin : piece.end] for piece in pieces])
    np.testing.assert_array_equal(own, samples_S[begin:end])
    for piece in pieces:
        assert len(piece.samples_S) <= 100
        assert piece.begin >= 20 or piece.samples_S[0] == 0
        assert len(piece.samples_S) - piece.end >= 20 or piece.samples_S[-1] == 699


def test_sound_that_fits_is_one_piece():
    samples_S = np.zeros(100, np.float32)
    [piece] = pieces_of(Heard(samples_S, 10, 90), 100, 20)
    assert piece.samples_S is samples_S and (piece.begin, piece.end) == (10, 90)


def test_joined_pieces_are_pooled_as_one():
    states_TD = np.random.default_rng(0).normal(3, 1, (100, 4))
    parts = [
        (len(part), np.concatenate([part.mean(axis=0), part.std(axis=0)])) for part in np.split(states_TD, [10, 55])
    ]
    np.testing.assert_allclose(join(parts, "mean_std"), [*states_TD.mean(axis=0), *states_TD.std(axis=0)], rtol=1e-5)
    means = [(count, vector[:4]) for count, vector in parts]
    np.testing.assert_allclose(join(means, "mean"), states_TD.mean(axis=0), rtol=1e-5)


def test_long_sound_in_pieces_is_nearly_that_heard_at_once(folders):
    encoder = load_speech_encoder(str(folders["wavlm"]), "last")
    heard = Heard(sound(20.0), 0, 320000)
    [whole_], [cut] = encode(encoder, [heard]), encode(encoder, [heard], most_s=7.0)
    off = np.abs(whole_.arrays["features"] - cut.arrays["features"]).max()
    assert 0 < off < 0.1 * np.abs(whole_.arrays["features"]).max()


def test_whisper_pools_real_frames_alone_and_hears_long_sound_in_pieces(folders):
    encoder = load_speech_encoder(str(folders["whisper"]), "last")
    [(frames, _)] = encoder.vectors([whole(sound(3.0))], CPU, "mean")
    assert frames == 150 and encoder.most_s == 30
    [record] = encode(encoder, [Heard(sound(33.0), 0, 33 * 16000)])
    assert record.arrays["features"].shape == (WIDTH,)


def test_values_that_are_not_finite_are_a_problem(folders):
    encoder = load_speech_encoder(str(folders["wavlm"]), "last")
    encoder.model.encoder.layers[0].final_layer_norm.weight.data.fill_(torch.nan)
    [record] = encode(encoder, [Heard(sound(0.5), 0, 8000)])
    assert not record.arrays and record.problem.startswith("values not finite")


def test_text_model_is_refused(tmp_path):
    small_encoder(talk(1)).save(tmp_path)
    with pytest.raises(InputError, match="encodes text; extract_audio.encoder needs a model that encodes sound"):
        load_speech_encoder(str(tmp_path), "last")


def test_folder_without_feature_extractor_is_refused(tmp_path):
    (write_speech_encoder(tmp_path) / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="has no preprocessor_config.json"):
        load_speech_encoder(str(tmp_path), "last")


def test_feature_extractor_of_pictures_is_refused(tmp_path):
    description = {"image_processor_type": "ViTImageProcessor", "feature_extractor_type": "ViTFeatureExtractor"}
    (write_speech_encoder(tmp_path) / "preprocessor_config.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="preprocessor_config.json|could not be loaded"):
        load_speech_encoder(str(tmp_path), "last")


def test_model_whose_feature_extractor_is_of_another_kind_is_refused(tmp_path):
    write_speech_encoder(tmp_path)
    shutil.copy(write_speech_encoder(tmp_path / "whisper", "whisper") / "preprocessor_config.json", tmp_path)
    with pytest.raises(InputError, match="WavLMModel with its WhisperFeatureExtractor does not turn sound into states"):
        load_speech_encoder(str(tmp_path), "last")


def test_encoder_that_is_nowhere_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="extract_audio.encoder to a folder"):
        load_speech_encoder("nobody/nothing", "last")
