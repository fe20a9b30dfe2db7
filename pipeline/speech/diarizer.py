"""Who speaks, by pyannote.audio (extra `diarize`)."""

from pathlib import Path

from pipeline.speech.transcript import Transcript


class Diarizer:
    """A loaded model of speaker diarization, for several media.

    Args:
        model: id on the hub, such as `pyannote/speaker-diarization-3.1` (token in HF_TOKEN), or a local folder.
        device: auto (CUDA where there is one), cpu or cuda.

    Raises:
        InputError: pyannote.audio is not installed, or the model cannot be loaded.
    """

    def __init__(self, model: str, device: str = "auto"):
        raise NotImplementedError

    def __call__(self, media: Path, transcript: Transcript) -> Transcript:
        """Give each utterance the speaker who speaks most of its time; a transcript that has speakers keeps them.

        Raises:
            MediaError: the medium has no sound, or cannot be read.
        """
        raise NotImplementedError
