"""A recogniser without a model, and the worker process that has it: what it does is written in the medium.

python -m tests.helpers.stand_in_recogniser
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from dferc.core.errors import InputError
from dferc.results.emotions import EmotionalUtterance, Emotions, MediumFacts, ModelFacts, TranscriptFacts
from pipeline.serve.worker import describe, run_jobs

COMMAND = (sys.executable, "-m", "tests.helpers.stand_in_recogniser")
TEXT = "What a day! </script><script>alert(1)</script>"
MANY = 3


class StandIn:
    """Recogniser of media that are commands: `wait`, `refuse`, `fail`, `full`, `large`, `die`; all else is a video."""

    name = "stand-in"
    speech_problem = "there is no speech recognition."
    bundle = SimpleNamespace(
        manifest=SimpleNamespace(
            corpus="nobody's",
            classes=("joy", "anger"),
            modalities=("text", "audio"),
            synthetic=("the corpus is synthetic",),
        )
    )

    def __init__(self, cache: str, language: str | None = None, **_):
        self.cache, self.language = Path(cache), language

    @classmethod
    def load(cls, source: str | None = None, **options) -> "StandIn":
        if source == "missing":
            raise InputError("missing: no such model. Name a bundle with --model.")
        return cls(**options)

    def __call__(
        self,
        media: Path,
        transcript: Path | None,
        progress: Callable[[str, float], None],
        names: tuple[str, str | None],
    ) -> Emotions:
        command = media.read_bytes()[:200].split(b"\n")[0].decode("latin-1")
        assert not list(self.cache.iterdir())
        (self.cache / "words").write_text(TEXT)
        print("a library prints this")
        progress("open", 1.0)
        if command == "refuse":
            raise InputError(f"{media}: this is text, no video. Choose a video; {transcript} does not matter.")
        if command == "fail":
            raise RuntimeError(f"odd: {media}")
        if command == "full":
            raise OSError(28, "No space left on device", str(media.parents[1] / "results/results.zip"))
        if command == "large":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        if command == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if command == "wait":
            null = subprocess.DEVNULL
            subprocess.Popen(["sleep", "60"], stdin=null, stdout=null, stderr=null)  # as the processes that decode
            for hundredths in range(100_000):
                progress("audio", min(hundredths / 100, 0.99))
                time.sleep(0.01)
        for share in range(11):
            progress("audio", share / 10)
            time.sleep(0.02)
        text = transcript.read_text() if transcript else TEXT
        utterances = [
            EmotionalUtterance(
                id=f"{media.stem}_{number:04}",
                start_s=number,
                end_s=number + 0.8,
                speaker="Ann",
                text=text,
                emotion="joy" if number % 2 else "anger",
                probabilities={"joy": 0.75, "anger": 0.25} if number % 2 else {"joy": 0.25, "anger": 0.75},
            )
            for number in range(MANY)
        ]
        facts = {key: value for key, value in describe(self).items() if key != "speech_problem"}
        return Emotions(
            media=MediumFacts(name=media.name, length_s=float(MANY), has_sound=True, has_picture=True),
            model=ModelFacts(seeds=[0], **facts),
            transcript=TranscriptFacts(origin="stand-in", language=self.language or ""),
            utterances=utterances,
        )


if __name__ == "__main__":
    run_jobs(StandIn.load)
