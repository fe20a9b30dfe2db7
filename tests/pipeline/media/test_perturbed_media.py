"""Random recordings and what people do to them: the right sound at the right time, or a problem that is listed."""

import os
import random
from collections import Counter

import numpy as np

from pipeline.audio.functionals import AudioWorker
from pipeline.rows.measure import Faulty, complete, measure
from tests.helpers.clips import read_audio, tone, write_clip
from tests.helpers.corpora import make_row

PERTURBATIONS = int(os.environ.get("DFERC_PERTURBATIONS", "40"))
LENGTH_S = 4
GREYS = [np.full((96, 176), 20 + number, np.uint8) for number in range(LENGTH_S * 25)]
WEIGHTS = {"mono": [[1]], "stereo": [[1, 1], [1, 0.3], [1, -1], [0, 1], [1, 0]], "5.1": [[1, 1, 1, 0, 1, 1]]}

SOUNDS = [("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("adts", "aac"), ("mp3", "libmp3lame"), ("flac", "flac")]
SOUNDS += [("ogg", "libopus"), ("ipod", "aac"), ("ac3", "ac3"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le")]
FILMS = [("mp4", "libx264", "aac"), ("mov", "mpeg4", "aac"), ("matroska", "libx264", "libmp3lame")]
FILMS += [("avi", "mpeg4", "libmp3lame"), ("mpegts", "libx264", "aac"), ("vob", "mpeg2video", "ac3")]
FILMS += [("flv", "libx264", "aac"), ("webm", "libvpx", "libopus"), ("asf", "mpeg4", "libmp3lame")]

CHANGES = ("none", "rename", "offset", "joined", "cut", "blanked", "junk before", "junk behind")
MENDED = ("channels of", "one of two", "length claimed")  # problems after which everything is right


def make(folder, draw):
    """Write a recording of a tone and change it; return the file, the pitch in Hz, and the change."""
    change, hz = draw.choice(CHANGES), draw.choice((300, 500, 800))
    layout = draw.choice(list(WEIGHTS))
    options: dict = {}
    if draw.random() < 0.5:
        form, options["sound_codec"] = draw.choice(SOUNDS)
    else:
        form, picture_codec, options["sound_codec"] = draw.choice(FILMS)
        options |= {"pictures": GREYS, "frames_per_s": 25, "picture_codec": picture_codec, "gop": draw.choice((5, 50))}
    layout = "stereo" if options["sound_codec"] == "libmp3lame" and layout == "5.1" else layout
    rate_hz = 48000 if options["sound_codec"] == "libopus" else draw.choice((44100, 48000))
    weights = np.array(draw.choice(WEIGHTS[layout]), np.float32)[:, None]
    options |= {"rate_hz": rate_hz, "sound": 0.7 * tone(LENGTH_S, rate_hz, hz=hz) * weights}
    if change == "offset":
        options["options"] = {"output_ts_offset": "7"}
    suffix = draw.choice(("", ".mp4", ".dat", ".WAV", ".m3u8")) if change == "rename" else f".{form}"
    clip = write_clip(folder / f"clip{suffix}", layout=layout, format=form, **options)
    content = bytearray(clip.read_bytes())
    if change == "joined":
        content *= 2
    elif change == "cut":
        del content[round(draw.uniform(0.1, 0.99) * len(content)) :]
    elif change == "blanked":  # a download of several parts that was broken off
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    elif change == "junk before":
        content[:0] = draw.randbytes(draw.choice((1, 100, 5000)))
    elif change == "junk behind":
        content += draw.randbytes(draw.choice((1, 100, 5000)))
    clip.write_bytes(content)
    return clip, hz, f"{change}, {form}"


def problems_of(clip, info, start_s, end_s, describe):
    """Return what `prepare` and the extractor list about an utterance."""
    row, problems = complete(make_row("u", clip.name, start_s=start_s, end_s=end_s), {clip.name: info}, 30.0)
    listed = [problem.problem for problem in problems if problem.problem != "no picture"]
    listed += [] if isinstance(info, Faulty) else [problem for problem, _ in info.remarks]
    if row.has_audio:
        listed.append(describe((str(clip), row.start_s, row.end_s, 0.08)).result.problem)
    return list(filter(None, listed))


def test_recording_is_read_right_or_a_problem_is_listed(tmp_path):
    draw, describe, silent = random.Random(1), AudioWorker("IS10"), Counter()
    for _ in range(PERTURBATIONS):
        clip, hz, what = make(tmp_path, draw)
        info = measure(clip)
        for start_s in (draw.choice((0.0, draw.uniform(0.0, 1.0))), draw.uniform(2.0, 2.9)):
            listed = problems_of(clip, info, start_s, start_s + 1, describe)
            lost = [problem for problem in listed if not problem.startswith(MENDED)]
            if lost:
                assert not what.startswith(("none", "rename")), (what, listed)
                continue
            samples = read_audio(clip, start_s, start_s + 1)
            power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
            heard_hz = np.fft.rfftfreq(len(samples), 1 / 16000)[power.argmax()]
            right = abs(len(samples) - 16000) < 1700 and abs(heard_hz - hz) < 4 and samples.std() > 0.02
            silent[what] += not right
        clip.unlink()
    assert not +silent
