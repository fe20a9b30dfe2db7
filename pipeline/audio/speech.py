"""Speech encoders of transformers: one vector per utterance, pooled over the states of its own frames.

An encoder hears an utterance within its surroundings, or a long one in pieces that overlap. Whatever it hears, only
frames whose centre lies in the utterance are pooled, each once. Frame k of T is centred at (k + 0.5) / T of the sound.

Legend: B pieces of a batch, T frames, D width of the encoder, S samples.
"""

import functools
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dferc.core.device import Device, choose_device
from dferc.core.errors import InputError
from dferc.engine.common import WorkerDied
from pipeline.audio.hearing import Heard
from pipeline.encoders.batches import Batching, check_batching, run_in_batches
from pipeline.encoders.kinds import Wanted, tower
from pipeline.encoders.opening import autocast, model_folder, open_model, open_processor
from pipeline.encoders.refusals import first_line
from pipeline.encoders.states import count_layers, layer_states, pool, read_layer
from pipeline.extraction.records import Clock, Measured, Record

WANTED = Wanted("audio", "extract_audio.encoder")

MARGIN_S = 1.0  # least sound on each side of a piece of a long utterance that is heard and not pooled

AudioPooling = Literal["mean", "mean_std"]


class SoundPiece(NamedTuple):
    """Sound that an encoder hears at once, and the samples of it whose frames are pooled."""

    samples_S: np.ndarray
    begin: int
    end: int


@dataclass(frozen=True)
class SpeechEncoder:
    """Model, its feature extractor, and how states are taken from them."""

    name: str  # folder, or name on the hub
    folder: Path  # where it lies
    model: nn.Module
    extractor: Any
    layers: tuple[int, ...] = ()  # whose states are averaged; none = the model's own final states
    least: int = 1  # samples; shorter sound is padded with zeros at its end
    width: int = 0

    @property
    def rate_hz(self) -> int:
        """Sampling rate of the sound that it hears."""
        return self.extractor.sampling_rate

    @property
    def most(self) -> int | None:
        """Most samples that it hears at once (Whisper: 30 s), to which each sound is padded; None = any number."""
        return getattr(self.extractor, "n_samples", None)

    @property
    def most_s(self) -> float:
        """The same in seconds."""
        return self.most / self.rate_hz if self.most else math.inf

    def forward(self, sounds: Sequence[np.ndarray], where: Device, hidden: bool) -> tuple[Any, list[int]]:
        """Return the model's output for sounds [S] and the number of frames of each, without those of padding."""
        padded = [np.pad(sound, (0, max(0, self.least - len(sound)))) for sound in sounds]
        padding = "max_length" if self.most else True
        # TF32, PyTorch's default for convolutions, has three digits: a GPU should give what a CPU gives.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=where.dtype != torch.float32)
        with warnings.catch_warnings(action="ignore"):  # WavLM's about a mask, Wav2Vec2-BERT's about short sound
            inputs = self.extractor(
                padded, sampling_rate=self.rate_hz, padding=padding, return_attention_mask=True, return_tensors="pt"
            )
            if "attention_mask" not in inputs:
                raise TypeError(f"{type(self.extractor).__name__} gives no mask of the sound in a batch")
            with torch.inference_mode(), autocast(where), exact:
                output = self.model(**inputs.to(where.device), output_hidden_states=hidden)
        frames_B, count = inputs["attention_mask"].sum(dim=1).cpu(), output.last_hidden_state.shape[1]
        if hasattr(self.model, "_get_feat_extract_output_lengths"):
            lengths = map(self.model._get_feat_extract_output_lengths, frames_B)  # Moonshine's takes one at a time
            frames_B = torch.tensor([int(length) for length in lengths])
        elif inputs["attention_mask"].shape[1] != count:
            raise TypeError(f"{count} states of {inputs['attention_mask'].shape[1]} frames have no known times")
        return output, frames_B.clamp(1, count).tolist()

    def states(self, sounds: Sequence[np.ndarray], where: Device) -> tuple[Tensor, list[int]]:
        """Return the states [B, T, D] of the chosen layers, and the number of frames of each sound."""
        output, frames_B = self.forward(sounds, where, bool(self.layers))
        states_BTD, count = layer_states(output, self.layers), output.last_hidden_state.shape[1]
        if states_BTD.shape[1] != count:  # SEW's layers have half the frames of its final states
            frames_B = [max(1, frames * states_BTD.shape[1] // count) for frames in frames_B]
        return states_BTD, frames_B

    def vectors(
        self, pieces: Sequence[SoundPiece], where: Device, pooling: AudioPooling
    ) -> list[tuple[int, np.ndarray]]:
        """Return for each piece of a batch how many frames were pooled, and the pooled vector in float32.

        Pieces of different lengths are padded and masked, which `batching` must allow.
        """
        states_BTD, frames_B = self.states([piece.samples_S for piece in pieces], where)
        mask_BT = torch.zeros(states_BTD.shape[:2], dtype=torch.bool)
        for mask_T, piece, frames in zip(mask_BT, pieces, frames_B, strict=True):
            centres_T = (torch.arange(frames) + 0.5) * (len(piece.samples_S) / frames)
            mask_T[:frames] = (centres_T >= piece.begin) & (centres_T < piece.end)
            if not mask_T.any():  # an utterance shorter than a frame
                mask_T[(centres_T - (piece.begin + piece.end) / 2).abs().argmin()] = True
        with torch.inference_mode():
            vectors_BD = pool(states_BTD, mask_BT.to(where.device), pooling).cpu().numpy()
        return list(zip(mask_BT.sum(dim=1).tolist(), vectors_BD, strict=True))

    @functools.cached_property
    def batching(self) -> Batching:
        """Sounds that may share a batch without a vector that depends on the others, found by a trial."""
        noise, where = _noise(self.rate_hz), Device(next(self.model.parameters()).device, torch.float32, "")

        def run(sounds: Sequence[np.ndarray]) -> list[Tensor]:
            states_BTD, frames_B = self.states(sounds, where)
            return [states_TD[:frames].cpu() for states_TD, frames in zip(states_BTD, frames_B, strict=True)]

        found = []
        for more in (0, self.rate_hz // 50):  # SEW joins frames two by two: only odd numbers of them show its fault
            length = self.least + self.rate_hz // 4 + more
            sounds = noise[:length], noise[-length:], noise[: length + self.rate_hz // 3]
            found.append(check_batching(run, *sounds))
        return max(found, key=list(Batching).index)


def load_speech_encoder(name: str, layer: str, trust: bool = False) -> SpeechEncoder:
    """Load an encoder from a folder or the hub, and try it out; see `pipeline.encoders.opening`.

    `trust`: whether code that comes with it may run.

    Raises:
        InputError: it cannot be loaded, is no speech encoder, or has no such layer.
    """
    wanted = WANTED._replace(trust=trust)
    folder = model_folder(name, wanted)
    model, extractor = tower(open_model(folder, wanted), wanted.kind), open_processor(folder, wanted)
    if not isinstance(getattr(extractor, "sampling_rate", None), int):
        raise InputError(
            f"{name}: its preprocessor_config.json is of a {type(extractor).__name__}, which prepares no sound (no "
            "sampling_rate). Copy the file from the model that this one was made from."
        )
    encoder, reason = SpeechEncoder(name, folder, model, extractor), None
    for shortest_s in (0.025, 0.05, 0.1, 0.2, 0.4):  # 400 samples at 16 kHz are the field of wav2vec2 and its kin
        encoder = replace(encoder, least=round(shortest_s * encoder.rate_hz))
        try:
            trial = [_noise(encoder.rate_hz)[: encoder.least]]
            output, _ = encoder.forward(trial, Device(torch.device("cpu"), torch.float32, ""), hidden=True)
            if not output.last_hidden_state.isfinite().all():  # Wav2Vec2-BERT's deviations over a single column
                raise ValueError(f"states of {shortest_s} s of sound are not finite")
        except Exception as error:  # code of some hundred architectures; most often the sound is too short
            reason = error
            continue
        layers = read_layer(layer, count_layers(output, model), name)
        return replace(encoder, layers=layers, width=layer_states(output, layers).shape[2])
    raise InputError(
        f"{name}: the {type(model).__name__} with its {type(extractor).__name__} does not turn sound into states in "
        f"time ({first_line(reason)}). Choose another encoder, such as {WANTED.example}."
    )


def pieces_of(heard: Heard, most: int, margin: int) -> list[SoundPiece]:
    """Cut sound that is longer than `most` samples into pieces that overlap by twice the margin; most > 2 margin.

    The utterance is shared out evenly, and each piece hears `margin` samples before and after its share, as far as
    there are.
    """
    if len(heard.samples_T) <= most:
        return [SoundPiece(*heard[:3])]
    length, pieces = heard.end - heard.begin, []
    count = math.ceil(length / (most - 2 * margin))
    edges = [heard.begin + length * number // count for number in range(count + 1)]
    for begin, end in itertools.pairwise(edges):
        first = max(0, begin - margin)
        pieces.append(SoundPiece(heard.samples_T[first : end + margin], begin - first, end - first))
    return pieces


def join(parts: Sequence[tuple[int, np.ndarray]], pooling: AudioPooling) -> np.ndarray:
    """Return the pooled vector of an utterance from the frames and vectors of its pieces."""
    if len(parts) == 1:
        return parts[0][1]
    weights_P1 = np.array([[frames] for frames, _ in parts], np.float64) / sum(frames for frames, _ in parts)
    vectors_PD = np.stack([vector for _, vector in parts]).astype(np.float64)
    if pooling == "mean":
        return (weights_P1 * vectors_PD).sum(axis=0).astype(np.float32)
    means_PD, deviations_PD = np.split(vectors_PD, 2, axis=1)
    mean_D = (weights_P1 * means_PD).sum(axis=0)
    square_D = (weights_P1 * (deviations_PD**2 + (means_PD - mean_D) ** 2)).sum(axis=0)
    return np.concatenate([mean_D, np.sqrt(square_D)]).astype(np.float32)


class SpeechWorker:
    """Encodes groups of utterances; see `make_extractor` of the stage for the arguments."""

    def __init__(
        self,
        encoder: SpeechEncoder | tuple[str, str, bool],
        pooling: AudioPooling,
        most_s: float,
        margin_s: float,
        device: str,
        precision: str,
        batch_s: float,
        batching: Batching,
    ):
        self._encoder = encoder if isinstance(encoder, SpeechEncoder) else load_speech_encoder(*encoder)
        self._where = choose_device(device, precision)
        self._encoder.model.to(self._where.device)
        self._pooling, self._batching = pooling, batching
        rate_hz = self._encoder.rate_hz
        self._most, self._margin, self._budget = (round(s * rate_hz) for s in (most_s, margin_s, batch_s))

    def __call__(self, group: Sequence[Heard | WorkerDied]) -> Measured:
        """Return a record per utterance; `WorkerDied` is handed on."""
        clock = Clock()
        with clock.step("encoder"):
            pieces = [
                (number, piece)
                for number, heard in enumerate(group)
                if isinstance(heard, Heard) and heard.usable
                for piece in pieces_of(heard, self._most, self._margin)
            ]
            vectors = run_in_batches(
                [piece for _, piece in pieces],
                [self._encoder.most or len(piece.samples_S) for _, piece in pieces],
                self._budget,
                self._batching,
                lambda batch: self._encoder.vectors(batch, self._where, self._pooling),
            )
            parts: dict[int, list[tuple[int, np.ndarray]]] = {}
            for (number, _), vector in zip(pieces, vectors, strict=True):
                parts.setdefault(number, []).append(vector)
            records = [self._record(heard, parts.get(number, [])) for number, heard in enumerate(group)]
        return Measured(records, clock.seconds)

    def _record(self, heard: Heard | WorkerDied, parts: Sequence[tuple[int, np.ndarray]]) -> Record | WorkerDied:
        if isinstance(heard, WorkerDied) or not heard.usable:
            return heard if isinstance(heard, WorkerDied) else Record(problem=heard.problem)
        vector = join(parts, self._pooling)
        if not np.isfinite(vector).all():
            return Record(problem=f"values not finite: the encoder's states, computed in {self._where.dtype}")
        return Record({"features": vector}, heard.problem)


def _noise(rate_hz: int) -> np.ndarray:
    """Return a second of faint noise, always the same."""
    return np.random.default_rng(0).normal(0, 0.1, rate_hz).astype(np.float32)
