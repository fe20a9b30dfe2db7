"""One lossless video of many clips, with subtitles: every utterance has the very frames and samples of its clip."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.rows.utterances import Utterance
from tests.helpers.own_files import clock

FRAMES_PER_S, RATE_HZ = 10, 16000  # of the demo's clips
_PACKET = RATE_HZ // FRAMES_PER_S  # samples, so that stamps in milliseconds are exact


def join_clips(
    raw: Path, rows: Sequence[Utterance], path: Path, pause_s: float, scene_s: float
) -> list[tuple[float, float]]:
    """Write the clips of utterances one after the other into a Matroska file, and an .srt beside it.

    Args:
        raw: folder of the clips.
        rows: utterances, each a whole clip.
        path: file to write.
        pause_s: silence between two utterances, in seconds; it and `scene_s` are multiples of 0.1.
        scene_s: silence between two dialogues.

    Returns:
        Begin and end of each utterance, in seconds.
    """
    starts, ends, frame, last = [], [], 0, rows[0].dialogue_id
    pictures: dict[int, av.VideoFrame] = {}
    sounds: dict[int, np.ndarray] = {}
    for row in rows:
        if starts:
            frame += round((pause_s if row.dialogue_id == last else scene_s) * FRAMES_PER_S)
        last = row.dialogue_id
        starts.append(frame / FRAMES_PER_S)
        images, samples = _decoded(raw / row.media)
        pictures |= {frame + number: image for number, image in images.items()}
        sounds[frame * _PACKET] = samples
        # Some clips have less sound than pictures; a longer span would add silence to it.
        ends.append(starts[-1] + (min(row.end_s, len(samples) / RATE_HZ) if len(samples) else row.end_s))
        frame += -int(-max(row.end_s, row.sound_end_s) * FRAMES_PER_S // 1)
    _write(path, pictures, sounds, frame)
    cues = [
        f"{number}\n{clock(start)} --> {clock(end)}\n{row.speaker}: {row.text}\n"
        for number, (row, start, end) in enumerate(zip(rows, starts, ends, strict=True), start=1)
    ]
    path.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")
    return list(zip(starts, ends, strict=True))


def _decoded(clip: Path) -> tuple[dict[int, av.VideoFrame], np.ndarray]:
    """Return the frames of a clip by number, and its samples [T] float32."""
    with av.open(str(clip)) as container:
        frames = list(container.decode(*container.streams))
    images = {round(frame.time * FRAMES_PER_S): frame for frame in frames if isinstance(frame, av.VideoFrame)}
    sounds = [frame.to_ndarray()[0] for frame in frames if isinstance(frame, av.AudioFrame)]
    return images, np.concatenate([np.zeros(0, np.float32), *sounds])


def _write(path: Path, pictures: dict[int, av.VideoFrame], sounds: dict[int, np.ndarray], frames: int) -> None:
    samples_T = np.zeros((frames + 1) * _PACKET, np.float32)
    for begin, sound in sounds.items():
        samples_T[begin : begin + len(sound)] = sound[: len(samples_T) - begin]
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=FRAMES_PER_S)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("pcm_f32le", rate=RATE_HZ, layout="mono")
        for number in range(frames):
            if number in pictures:  # none between the clips: a span must not end on another picture than its clip
                image = pictures[number]
                image.pts, image.time_base, image.pict_type = number, Fraction(1, FRAMES_PER_S), 0
                container.mux(video.encode(image))
            part_T = samples_T[number * _PACKET : (number + 1) * _PACKET]
            sound = av.AudioFrame.from_ndarray(part_T[None], format="flt", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE_HZ, number * _PACKET, Fraction(1, RATE_HZ)
            container.mux(audio.encode(sound))
        container.mux([*video.encode(None), *audio.encode(None)])
