"""Sound of a whole medium in spans, decoded as for the features."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from pipeline.media.files import MediaError
from pipeline.media.sound import SAMPLE_RATE_HZ, SoundFile
from pipeline.speech.transcript import GIVE_ONE

READ_S = 60.0  # sound that is decoded at once: at its own rate and with all channels it takes far more memory


def read_pieces(media: Path, length_s: float) -> Iterator[np.ndarray]:
    """Yield the sound of a medium from its start to its end, `READ_S` at a time: [samples] float32, mono, 16 kHz.

    Silence stands where the track has no sound, so that a sample's place is its time.

    Raises:
        MediaError: the medium cannot be read.
        InputError: it has no sound.
    """
    try:
        sound = SoundFile(media)
    except MediaError as error:
        if not error.problem.startswith("no sound"):
            raise
        raise InputError(
            f"{media}: no sound track, so there is no speech to recognise. Give a transcript: "
            f"{media.stem}.srt {GIVE_ONE}"
        ) from None
    with sound:
        start_s = 0.0
        while start_s < length_s:
            end_s = min(start_s + READ_S, length_s)
            samples_T = sound.read(start_s, end_s)
            count = round((end_s - start_s) * SAMPLE_RATE_HZ)
            late = min(round((sound.begin_s - start_s) * SAMPLE_RATE_HZ), count - len(samples_T))
            yield np.pad(samples_T, (late, count - len(samples_T) - late))
            start_s = end_s
