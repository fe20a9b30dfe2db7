"""A short film with sound, made by code in a format that Chromium plays: VP8 and Opus in WebM."""

from fractions import Fraction
from pathlib import Path

import numpy as np


def write_webm(path: Path, length_s: float = 6.0, picture: bool = True) -> Path:
    """Write a film of a moving square and a rising tone, or the tone alone."""
    import av

    rate, fps, size = 48_000, 10, (160, 120)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="webm") as container:
        film = container.add_stream("libvpx", rate=fps) if picture else None
        sound = container.add_stream("libopus", rate=rate, layout="mono")
        if film:
            film.width, film.height, film.pix_fmt = *size, "yuv420p"
            film.options = {"deadline": "realtime", "cpu-used": "8"}
            film.codec_context.gop_size = 5  # seeks are exact to half a second without decoding
        for number in range(int(length_s * fps)):
            if film:
                image = np.full((size[1], size[0], 3), (40, 60, 90), np.uint8)
                image[40:80, (4 * number) % 140 : (4 * number) % 140 + 20] = (240, 190, 60)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(film.encode(frame))
            time = np.arange(number * rate // fps, (number + 1) * rate // fps) / rate
            tone = (0.1 * np.sin(2 * np.pi * (200 + 20 * time) * time)).astype(np.float32)
            samples = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            samples.rate, samples.pts, samples.time_base = rate, number * rate // fps, Fraction(1, rate)
            container.mux(sound.encode(samples))
        for stream in filter(None, (film, sound)):
            container.mux(stream.encode(None))
    return path
