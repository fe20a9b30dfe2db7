"""Speech recognition by faster-whisper (extra `video`): a medium's sound -> utterances.

The sound is decoded by `pipeline.media.sound`, as for the features, and recognised in pieces of at most ten minutes
that end in a silence: a film of hours takes no more memory than one of minutes. Decoding is greedy or a beam search,
never sampling, so that the same sound gives the same words.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dferc.core.console import console
from dferc.core.errors import InputError, Problem, did_you_mean
from pipeline.media.files import probe
from pipeline.media.sound import SAMPLE_RATE_HZ, is_silent
from pipeline.speech.cutting import LONGEST_S, PAUSE_S, SHORT_SILENCE_S, Span, Words, cut_utterances
from pipeline.speech.sound import read_pieces
from pipeline.speech.transcript import ONE_SPEAKER, Spoken, SpokenWord, Transcript, first_line

PIECE_S = 540.0  # sound that is recognised at once: this and at most what is read at once
_SEARCHED_S = 120.0  # end of a piece in which the longest silence is searched for
_PAD_S = 0.2  # sound before and after speech that Whisper hears, too
_REPETITIVE = 2.4  # compression ratio of a text above which Whisper repeats itself (OpenAI's own threshold)
_NO_REPEATS = 3  # words of which no sequence may occur twice, where it did
_SURE = 0.5  # probability of a language from which on it is not asked for again

_COMPUTED_IN = {"cuda": "float16", "cpu": "int8"}  # in order of preference
_FILES = ("model.bin", "config.json", "tokenizer.json")  # without the last, faster-whisper would ask the hub
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_INSTALL = "pip install '.[video]'"
_FOLDER = (
    "Where there is internet, `hf download Systran/faster-whisper-small --local-dir FOLDER` makes a folder to copy; "
    "name it with --asr FOLDER."
)


class Piece(NamedTuple):
    """A stretch of a medium's sound."""

    start_s: float
    samples_T: np.ndarray  # mono, 16 kHz
    spans: list[Span]  # of speech, in seconds of the medium


class HeardWords(NamedTuple):
    """What is recognised in a piece."""

    words: list[SpokenWord]
    language: str
    probability: float  # of the language
    left_out: list[tuple[str, str]]  # problems with their consequences


Keep = Callable[[str, Callable[[], HeardWords]], HeardWords]
"""Receives the name of a piece within its medium and what recognises it; returns its words, kept or recognised now."""


class SpeechRecogniser:
    """A loaded model of speech recognition, for several media.

    Args:
        model: faster-whisper's name of a model, an id on the hub, or a local folder with `model.bin`.
        language: code such as `en`; None = recognised.
        device: auto (CUDA where there is one), cpu or cuda.
        threads: of the CPU; 0 = OMP_NUM_THREADS, else four or as many as there are cores.
        pause_s: silence that ends an utterance, in seconds.
        longest_s: longest utterance, in seconds.

    Raises:
        InputError: faster-whisper is not installed, there is no such model, or it does not know the language.
    """

    def __init__(
        self,
        model: str = "small",
        language: str | None = None,
        device: str = "auto",
        threads: int = 0,
        *,
        pause_s: float = PAUSE_S,
        longest_s: float = LONGEST_S,
    ):
        self._whisper, on, in_ = _load(model, device, threads)
        known = sorted(self._whisper.supported_languages)
        name = Path(model).name if Path(model).is_dir() else model  # dferc-serve shows messages to strangers
        if language and language not in known:
            only = f"the model {name} knows {', '.join(known[:12])}{', …' if len(known) > 12 else ''} only"
            raise InputError(
                f"--language {language}: {only}.{did_you_mean(language, known)} Give the code of a language that it "
                "knows, or another --asr model (those that end in .en know English alone)."
            )
        self._language, self._pause_s, self._longest_s = language, pause_s, longest_s
        self._origin = f"speech recognition: faster-whisper {name} ({in_}, {on})"

    def __call__(
        self,
        media: Path,
        progress: Callable[[float], None] = lambda share: None,
        keep: Keep = lambda name, recognise: recognise(),
    ) -> Transcript:
        """Recognise the speech of a medium; where there is none, the transcript is empty and a note says so.

        Args:
            media: a video or a sound file.
            progress: called with the share of the sound that is done, 0 to 1. It may raise to stop the work.
            keep: keeps the words of finished pieces. They do not depend on `pause_s` and `longest_s`.

        Raises:
            MediaError: the medium cannot be read.
            InputError: it has no sound.
        """
        length_s = probe(media).duration_s
        language, probability, silent, done = self._language, 1.0 if self._language else 0.0, True, 0.0
        utterances: list[Words] = []
        problems: list[Problem] = []

        def report(time_s: float) -> None:
            nonlocal done
            done = max(done, min(time_s / length_s, 1.0) if length_s else 1.0)
            progress(done)

        for piece in _pieces(media, length_s):
            silent = silent and is_silent(piece.samples_T)
            if piece.spans:
                wanted = language if probability >= _SURE else None
                heard = keep(f"{piece.start_s:.3f}", functools.partial(self._recognise, piece, wanted, report))
                if wanted is None and heard.probability > probability:
                    language, probability = heard.language, heard.probability
                problems += [Problem(media.name, media.name, *problem) for problem in heard.left_out]
                utterances += cut_utterances(heard.words, piece.spans, self._pause_s, self._longest_s)
            report(piece.start_s + len(piece.samples_T) / SAMPLE_RATE_HZ)
        progress(1.0)
        notes = [ONE_SPEAKER]
        if not utterances:
            cause = "the sound is silent" if silent else "the sound is noise, music, or speech too faint to recognise"
            cause = "all that was recognised repeats itself, and was left out" if problems else cause
            notes = [f"No speech found in {length_s:.1f} s: {cause}."]
        elif not self._language and probability < _SURE:
            notes.append(
                f"The language is uncertain: {language!r}, with a probability of {probability:.2f}. "
                "Name it (--language, or on the page of dferc-serve)."
            )
        return Transcript(
            utterances=tuple(
                Spoken(
                    utterance_id=f"{media.stem}_{number}",
                    start_s=words[0].start_s,
                    end_s=words[-1].end_s,
                    speaker="",
                    text="".join(word.text for word in words).strip(),
                    words=tuple(words),
                )
                for number, words in enumerate(utterances, start=1)
            ),
            origin=self._origin,
            language=(language or "") if utterances else self._language or "",
            speakers_from="",
            notes=tuple(notes),
            problems=tuple(problems),
        )

    def _recognise(self, piece: Piece, language: str | None, report: Callable[[float], None]) -> HeardWords:
        """Return the words of a piece, its language, and what was left out."""
        from faster_whisper.vad import VadOptions

        for no_repeats in (0, _NO_REPEATS):
            found, info = self._whisper.transcribe(
                piece.samples_T,
                language=language,
                temperature=0.0,
                condition_on_previous_text=False,  # it makes one error the cause of the next
                no_repeat_ngram_size=no_repeats,
                word_timestamps=True,
                vad_filter=True,
                vad_parameters=VadOptions(min_silence_duration_ms=200, speech_pad_ms=round(1000 * _PAD_S)),
            )
            segments = []
            for segment in found:
                segments.append(segment)
                report(piece.start_s + float(segment.end))
            repetitive = [segment for segment in segments if segment.compression_ratio > _REPETITIVE]
            if not repetitive:
                break
        problems = []
        if repetitive:
            first, last = repetitive[0], repetitive[-1]
            between = f"{_clock(piece.start_s + first.start)} to {_clock(piece.start_s + last.end)}"
            found = f"text that repeats itself: {len(repetitive)} part(s), {between}, first {first.text.strip()[:60]!r}"
            problems = [(found, "left out: speech recognition invents such text over noise and music")]
        words = [
            SpokenWord(
                start_s=round(piece.start_s + float(word.start), 3),
                end_s=round(piece.start_s + float(word.end), 3),
                text=word.word,
            )
            for segment in segments
            if segment.compression_ratio <= _REPETITIVE
            for word in segment.words
        ]
        return HeardWords(words, info.language, float(info.language_probability), problems)


def _load(model: str, device: str, threads: int) -> tuple[Any, str, str]:
    """Return the model, the device that it is on, and the type that it computes in."""
    try:
        import ctranslate2
        import faster_whisper
    except ImportError as error:
        raise InputError(
            f"Speech recognition needs faster-whisper, which is not installed ({error}): {_INSTALL}. Or give "
            "the video a transcript, such as talk.srt."
        ) from None
    available = ctranslate2.get_cuda_device_count() > 0
    if device == "cuda" and not available:
        raise InputError(
            "--device cuda: faster-whisper sees no CUDA device. Is a GPU there (nvidia-smi)? --device cpu."
        )
    folder = _folder_of(model, faster_whisper)
    for on, in_ in _COMPUTED_IN.items():
        if on == "cuda" and (device == "cpu" or not available):
            continue
        try:
            whisper = faster_whisper.WhisperModel(folder, device=on, compute_type=in_, cpu_threads=threads)
            if on == "cuda":  # its libraries are loaded by the first use alone
                list(whisper.transcribe(np.zeros(SAMPLE_RATE_HZ, np.float32), language="en")[0])
            return whisper, on, in_
        except Exception as error:  # CTranslate2 and tokenizers raise nearly anything on a damaged file
            if on == "cuda" and device == "auto":
                console.print(f"speech recognition runs on the CPU: CUDA does not work here ({first_line(error)})")
                continue
            where = "" if on == "cpu" else " on CUDA, which --device cpu avoids"
            raise InputError(
                f"{folder}: not loadable as a model of faster-whisper{where} ({first_line(error)}). Expected a model "
                f"in the format of CTranslate2. {_FOLDER}"
            ) from error
    raise AssertionError("the CPU is always tried")


def _folder_of(model: str, faster_whisper: Any) -> str:
    """Return the folder of a model, which is fetched from the hub if it has a name there and is not in its cache."""
    if os.path.isdir(model):
        if absent := [name for name in _FILES if not os.path.isfile(os.path.join(model, name))]:
            present = ", ".join(sorted(os.listdir(model))[:10]) or "nothing"
            raise InputError(
                f"{model} is no model of faster-whisper: no {', '.join(absent)}; found {present}. Models in the format "
                f"of transformers are converted by `ct2-transformers-converter`. {_FOLDER}"
            )
        return model
    names = faster_whisper.available_models()
    if model not in names and not _HUB_ID.fullmatch(model):
        raise InputError(
            f"--asr {model}: no such folder, and no model of that name.{did_you_mean(model, names)} Expected a folder, "
            f"an id on the hub such as Systran/faster-whisper-small, or one of {', '.join(names)}."
        )
    from huggingface_hub import constants

    try:
        cached = faster_whisper.download_model(model, local_files_only=True)
    except Exception:  # of the hub: it is not in the cache
        cached = ""
    if os.path.isfile(os.path.join(cached, "model.bin")):  # no part of an earlier fetch
        return cached

    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("it is not in the hub's cache; HF_HUB_OFFLINE or a running dferc-serve forbids it")
        console.print(f"fetching the speech recognition model {model} from the hub, once")
        return faster_whisper.download_model(model)
    except Exception as error:  # of the hub, of the network, of the disk
        raise InputError(f"--asr {model}: the model could not be fetched ({first_line(error)}). {_FOLDER}") from error


def _pieces(media: Path, length_s: float) -> Iterator[Piece]:
    """Yield the sound of a medium in pieces of about `PIECE_S`, each with its speech, cut at silences."""
    sound, first, samples_T = read_pieces(media, length_s), 0, np.zeros(0, np.float32)
    ended = False
    while not ended:
        while not ended and len(samples_T) < PIECE_S * SAMPLE_RATE_HZ:
            more_T = next(sound, None)
            ended = more_T is None
            samples_T = samples_T if ended else np.concatenate([samples_T, more_T])
        start_s = first / SAMPLE_RATE_HZ
        spans = _speech(samples_T, start_s) if len(samples_T) else []
        count = len(samples_T) if ended else _cut(spans, start_s, start_s + len(samples_T) / SAMPLE_RATE_HZ)
        end_s = (first + count) / SAMPLE_RATE_HZ
        yield Piece(start_s, samples_T[:count], [(begin, min(stop, end_s)) for begin, stop in spans if begin < end_s])
        samples_T, first = samples_T[count:], first + count


def _speech(samples_T: np.ndarray, start_s: float) -> list[Span]:
    """Return the spans of speech in the medium's seconds."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(min_silence_duration_ms=round(1000 * SHORT_SILENCE_S), speech_pad_ms=0)
    spans = get_speech_timestamps(samples_T, options)
    return [tuple(round(start_s + span[edge] / SAMPLE_RATE_HZ, 3) for edge in ("start", "end")) for span in spans]


def _cut(spans: list[Span], start_s: float, end_s: float) -> int:
    """Return where to end a piece, in samples: in the middle of the longest silence near its end, else at its end."""
    searched_s = max(end_s - _SEARCHED_S, (start_s + end_s) / 2)
    edges = [start_s, *(time_s for span in spans for time_s in span), end_s]
    silences = [
        (begin_s, stop_s)
        for begin_s, stop_s in zip(edges[::2], edges[1::2], strict=True)
        if stop_s > max(searched_s, begin_s)
    ]
    begin_s, stop_s = max(silences, key=lambda silence: silence[1] - silence[0], default=(end_s, end_s))
    return round(((begin_s + stop_s) / 2 - start_s) * SAMPLE_RATE_HZ)


def _clock(time_s: float) -> str:
    return f"{int(time_s // 60)}:{time_s % 60:04.1f}"
