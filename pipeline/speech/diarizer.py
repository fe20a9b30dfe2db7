"""Who speaks, by pyannote.audio (extra `diarize`): a medium's sound -> turns of speakers -> utterances with speakers.

The interface is that of pyannote.audio 3 and 4: `Pipeline.from_pretrained(model, token=…)`, called with
`{"waveform": [1, T], "sample_rate": 16000}`, returns an `Annotation` (3) or an output with one (4).
"""

import inspect
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dferc.core.device import choose_device
from dferc.core.errors import InputError
from pipeline.media.files import probe
from pipeline.media.sound import SAMPLE_RATE_HZ
from pipeline.speech.cutting import SHORTEST_S
from pipeline.speech.sound import read_pieces
from pipeline.speech.transcript import ONE_SPEAKER, Spoken, SpokenWord, Transcript, first_line

NEAREST_S = 0.5  # distance of the nearest turn that still names the speaker of an utterance without one

_REMEDY = (
    "Expected an id on the hub, such as pyannote/speaker-diarization-3.1, with a token in HF_TOKEN and its conditions "
    "accepted there; or a folder with the pipeline's config.yaml and its weights."
)


class SpeakerTurn(NamedTuple):
    """A stretch in which one speaker speaks, in seconds of the medium."""

    start_s: float
    end_s: float
    speaker: str


class Diarizer:
    """A loaded model of speaker diarization, for several media.

    Args:
        model: id on the hub, such as `pyannote/speaker-diarization-3.1` (token in HF_TOKEN), or a local folder.
        device: auto (CUDA where there is one), cpu or cuda.

    Raises:
        InputError: pyannote.audio is not installed, or the model cannot be loaded.
    """

    def __init__(self, model: str, device: str = "auto"):
        self._pipeline, self._origin = _load(model, device), f"diarization: pyannote.audio {Path(model).name}"

    def __call__(self, media: Path, transcript: Transcript) -> Transcript:
        """Give each utterance the speaker who speaks most of its time; a transcript that has speakers keeps them.

        Utterances of speech recognition are cut where the speaker changes. The sound of the whole medium is in memory.

        Raises:
            MediaError: the medium has no sound, or cannot be read.
        """
        if any(spoken.speaker for spoken in transcript.utterances):
            note = "The transcript names speakers: they are kept, and diarization is left out."
            return replace(transcript, notes=(*transcript.notes, note))
        length_s, first = probe(media).duration_s, 0
        sound_1T = torch.zeros(1, round((length_s + 1) * SAMPLE_RATE_HZ))
        for samples_T in read_pieces(media, length_s):
            sound_1T[0, first : first + len(samples_T)] = torch.from_numpy(samples_T)
            first += len(samples_T)
        sound = {"waveform": sound_1T[:, :first], "sample_rate": SAMPLE_RATE_HZ}
        try:
            turns = sorted(_turns(self._pipeline(sound)))
        except Exception as error:  # of the networks in the pipeline
            raise InputError(f"{media}: {self._origin} failed ({first_line(error)}). Omit --diarize.") from error
        return with_speakers(transcript, turns, self._origin, media.stem)


def with_speakers(transcript: Transcript, turns: Sequence[SpeakerTurn], origin: str, stem: str) -> Transcript:
    """Return the transcript with the speaker of each utterance.

    Args:
        transcript: without speakers; utterances that have words are cut where the speaker changes.
        turns: in order of their begins; they may overlap.
        origin: of the turns.
        stem: of the ids of utterances, which are counted anew where one is cut.
    """
    parts = [part for spoken in transcript.utterances for part in _cut_at_changes(spoken, turns)]
    cut = len(parts) > len(transcript.utterances)
    utterances = tuple(
        replace(part, speaker=_speaker_of(part, turns), utterance_id=f"{stem}_{number}" if cut else part.utterance_id)
        for number, part in enumerate(parts, start=1)
    )
    notes = tuple(note for note in transcript.notes if note != ONE_SPEAKER)
    unknown = sum(not spoken.speaker for spoken in utterances)
    if unknown == len(utterances):
        notes += (f"No turn of a speaker was found by {origin}.", ONE_SPEAKER)
    elif unknown:
        notes += (f"{unknown} of {len(utterances)} utterances have no speaker: {origin} heard nobody near them.",)
    speakers_from = origin if unknown < len(utterances) else ""
    return replace(transcript, utterances=utterances, notes=notes, speakers_from=speakers_from)


def _speaker_of(spoken: Spoken, turns: Sequence[SpeakerTurn]) -> str:
    """Return who speaks most of an utterance's time, of equals who begins first; "" where nobody is near."""
    if spoken.start_s is None:
        return ""
    shares: dict[str, float] = defaultdict(float)
    nearest = (NEAREST_S, "")
    for turn in turns:
        shared_s = min(turn.end_s, spoken.end_s) - max(turn.start_s, spoken.start_s)
        if shared_s > 0:
            shares[turn.speaker] += shared_s
        elif -shared_s < nearest[0] or not nearest[1] and -shared_s == nearest[0]:
            nearest = -shared_s, turn.speaker
    return max(shares, key=lambda name: round(shares[name], 3)) if shares else nearest[1]


def _cut_at_changes(spoken: Spoken, turns: Sequence[SpeakerTurn]) -> Iterator[Spoken]:
    """Yield an utterance, in parts where another speaker takes over within it, cut between words.

    A word is of the speaker of most of its time. A turn of less than `SHORTEST_S` cuts nothing.
    """
    if len(spoken.words) < 2:
        yield spoken
        return
    first_s, last_s = spoken.start_s - NEAREST_S, spoken.end_s + NEAREST_S
    near = [turn for turn in turns if turn.start_s < last_s and turn.end_s > first_s]
    near = [turn for turn in near if turn.end_s - turn.start_s >= SHORTEST_S]
    speakers = [_speaker_of(replace(spoken, start_s=word.start_s, end_s=word.end_s), near) for word in spoken.words]
    parts: list[list[SpokenWord]] = []
    last = ""
    for speaker, group in itertools.groupby(zip(speakers, spoken.words, strict=True), key=lambda pair: pair[0]):
        words = [word for _, word in group]
        short = words[-1].end_s - words[0].start_s < SHORTEST_S
        if parts and (short or speaker in ("", last)):
            parts[-1] += words
        elif parts and not last:
            parts[-1] += words
            last = speaker
        else:
            parts.append(words)
            last = "" if short else speaker
    for words in parts:
        yield replace(
            spoken,
            start_s=words[0].start_s,
            end_s=words[-1].end_s,
            text="".join(word.text for word in words).strip(),
            words=tuple(words),
        )


def _turns(output: Any) -> Iterator[SpeakerTurn]:
    """Yield the turns of a pipeline's output, of pyannote.audio 3 or 4."""
    annotation = getattr(output, "speaker_diarization", output)
    pairs = annotation  # as version 4 documents it
    if hasattr(annotation, "itertracks"):
        pairs = ((segment, speaker) for segment, _, speaker in annotation.itertracks(yield_label=True))
    for segment, speaker in pairs:
        yield SpeakerTurn(float(segment.start), float(segment.end), str(speaker))


def _load(model: str, device: str) -> Any:
    try:
        from pyannote.audio import Pipeline
    except ImportError as error:
        raise InputError(
            f"--diarize needs pyannote.audio, which is not installed ({error}): pip install '.[diarize]'. Or name the "
            "speakers in the transcript: `ANNA: text`."
        ) from None
    named = inspect.signature(Pipeline.from_pretrained).parameters
    token = "token" if "token" in named else "use_auth_token"  # of version 3
    try:
        pipeline = Pipeline.from_pretrained(model, **{token: os.environ.get("HF_TOKEN")})
    except Exception as error:  # of the hub, the network, YAML, and whatever the pipeline is made of
        raise InputError(f"--diarize {model}: not loadable ({first_line(error)}). {_REMEDY}") from error
    if pipeline is None:  # a model that asks for conditions to be accepted
        raise InputError(f"--diarize {model}: the hub does not give it out. {_REMEDY}")
    pipeline.to(choose_device(device, "float32").device)
    return pipeline
