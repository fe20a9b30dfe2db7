"""Speech recognition by faster-whisper (extra `video`): a medium's sound -> utterances."""

from collections.abc import Callable
from pathlib import Path

from pipeline.speech.transcript import Transcript


class SpeechRecogniser:
    """A loaded model of speech recognition, for several media.

    Args:
        model: faster-whisper's name of a model, an id on the hub, or a local folder with `model.bin`.
        language: code such as `en`; None = recognised.
        device: auto (CUDA where there is one), cpu or cuda.
        threads: of the CPU; 0 = all cores that this process may use.
        pause_s: silence that ends an utterance, in seconds.
        longest_s: longest utterance, in seconds.

    Raises:
        InputError: faster-whisper is not installed, or there is no such model.
    """

    def __init__(
        self,
        model: str = "small",
        language: str | None = None,
        device: str = "auto",
        threads: int = 0,
        *,
        pause_s: float = 0.4,
        longest_s: float = 15.0,
    ):
        raise NotImplementedError

    def __call__(self, media: Path, progress: Callable[[float], None] = lambda share: None) -> Transcript:
        """Recognise the speech of a medium; where there is none, the transcript is empty and a note says so.

        Args:
            media: a video or a sound file.
            progress: called with the share of the sound that is done, 0 to 1. It may raise to stop the work.

        Raises:
            MediaError: the medium has no sound, or cannot be read.
        """
        raise NotImplementedError
