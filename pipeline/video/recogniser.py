"""Emotions of a video, a sound file or a transcript in one pass.

>>> from pipeline import Recogniser
>>> Recogniser.load("models/meld.dferc")("talk.mp4").to_json("talk.json")
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from dferc.results.emotions.document import Emotions

STEPS = ("open", "transcript", "text", "audio", "visual", "emotions")
"""Steps of one medium, in order, as `progress` receives them."""

Progress = Callable[[str, float], None]
"""Receives the name of a step of `STEPS`, and the share of it that is done, 0 to 1. It may raise to stop the work."""


class Recogniser:
    """A model bundle, loaded and ready for several media."""

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        abstain: float = 0.0,
        asr: str = "small",
        language: str | None = None,
        diarize: str | None = None,
        cache: Path | None = None,
        seeds: Sequence[int] = (),
    ) -> Self:
        """Load a model.

        Args:
            source: model bundle (a folder, a .zip, or an id on the hub), or a run such as runs/meld/full.
            revision: of a bundle on the hub.
            device: auto (CUDA where there is one), cpu or cuda.
            abstain: probability below which an utterance is left undecided; 0 = none.
            asr: model of faster-whisper, by name or folder, for media without a transcript.
            language: of the speech, such as `en`; None = recognised.
            diarize: model of pyannote.audio that tells speakers apart; None = one speaker.
            cache: folder of finished work.  [default: ~/.cache/dferc, or $XDG_CACHE_HOME/dferc]
            seeds: seeds of the bundle to use; all if empty.

        Raises:
            InputError: the source is no usable model.
        """
        raise NotImplementedError

    def __call__(
        self, media: str | Path, transcript: str | Path | None = None, progress: Progress | None = None
    ) -> Emotions:
        """Recognise the emotion of each utterance of one medium.

        Args:
            media: video or sound, or a transcript alone.
            transcript: subtitles or a table; None = the one beside the medium, else speech recognition.
            progress: called during the work.

        Raises:
            InputError: the medium or its transcript cannot be used.
        """
        raise NotImplementedError
