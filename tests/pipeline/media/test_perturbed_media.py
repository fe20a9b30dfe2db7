"""Random recordings and what people do to them: the right sound at the right time, or a problem that is listed."""

import os
import random
from collections import Counter

import numpy as np

from pipeline.audio.functionals import AudioWorker
from pipeline.media.sound import SoundFile
from pipeline.rows.measure import Faulty, complete, measure
from tests.helpers.clips import read_audio, read_frames, tone, write_clip
from tests.helpers.corpora import make_row
from tests.helpers.odd_media import write_edited

PERTURBATIONS = int(os.environ.get("DFERC_PERTURBATIONS", "16"))
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


def edited(folder, draw):
    """Write a recording as an editor leaves it, and damage some; return the file and what it holds."""
    form, picture_codec, sound_codec = draw.choice(EDITED)
    moving = [stamp for stamp in range(20) if stamp in (0, 19) or draw.random() < 0.7]  # a variable frame rate
    about = {
        "form": form,
        "picture_codec": picture_codec,
        "sound_codec": sound_codec,
        "rate_hz": 48000 if sound_codec == "libopus" else draw.choice(RATES_HZ[sound_codec == "ac3"]),
        "layout": draw.choice(("mono", "stereo") if sound_codec == "libmp3lame" else ("mono", "stereo", "5.1")),
        "pitches_hz": tuple(draw.sample((300, 500, 800), 2)),
        "stamps": draw.choice((list(range(20)), moving)) if form not in ("avi", "vob", "mpegts") else list(range(20)),
        "delays_s": draw.choice(((0, 0), (0, 0.5), (0.5, 0), (7, 7.3), (3.3, 3)) if form != "avi" else ((0, 0),)),
        "sound_first": draw.random() < 0.3,
        "further_tracks": draw.choice((0, 0, 0, 1, 2)) if form not in ("flv", "asf") else 0,
        "rotation": draw.choice((0, 0, 90, 180, 270)) if form in ("mp4", "mov") else 0,
    }
    clip = write_edited(folder / f"clip{draw.choice(('', '.mp4', '.wav', f'.{form}'))}", **about)
    damage = draw.choice(("none", "none", "none", "cut", "zeros", "noise"))
    content = clip.read_bytes()
    kept = round(draw.uniform(0.2, 0.95) * len(content))
    if damage != "none":
        lost = {"cut": b"", "zeros": bytes(len(content) - kept), "noise": draw.randbytes(len(content) - kept)}
        clip.write_bytes(content[:kept] + lost[damage])
    return clip, about | {"damage": damage}


RATES_HZ = ((16000, 22050, 32000, 44100, 48000), (32000, 44100, 48000))  # the second: of AC-3
EDITED = [
    ("mp4", "libx264", "aac"),
    ("mov", "mpeg4", "aac"),
    ("matroska", "libx264", "aac"),
    ("avi", "mpeg4", "libmp3lame"),
]
EDITED += [("matroska", "mpeg4", "flac"), ("mpegts", "libx264", "aac"), ("webm", "libvpx", "libopus")]
EDITED += [
    ("flv", "libx264", "aac"),
    ("asf", "mpeg4", "libmp3lame"),
    ("vob", "mpeg2video", "ac3"),
    ("nut", "mpeg4", "aac"),
]


def faults_of(clip, about, info, second):
    """Return what is wrong with sound and pictures of the second half of a second of the content."""
    origin_s = min(about["delays_s"])
    picture_s, sound_s = (delay_s - origin_s for delay_s in about["delays_s"])
    faults = []
    if info.has_audio:
        begin_s = sound_s + second + 0.3
        with SoundFile(clip) as file:
            samples = file.read(begin_s, begin_s + 0.5)
        power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) if len(samples) else [0]
        heard_hz = np.argmax(power) * 16000 / max(1, len(samples))
        whole = len(samples) > 7200 or about["damage"] != "none"  # the extractor lists less: `sound incomplete`
        right = abs(heard_hz - about["pitches_hz"][second]) < 8 and whole or not len(samples)
        faults += [] if right else [f"sound: {heard_hz:.0f} Hz of {len(samples)}"]
    if info.has_video:
        begin_s = picture_s + second + 0.3
        sampled = list(read_frames(clip, begin_s, begin_s + 0.5, 4, 9))
        levels = {20 + 8 * stamp for stamp in about["stamps"]}
        shown = [grey.mean() for _, grey in sampled]
        near = all(abs(grey - 20 - 80 * (time_s - picture_s)) < 14 for (time_s, _), grey in zip(sampled, shown))
        turned = all((grey.shape == (96, 64)) == (about["rotation"] in (90, 270)) for _, grey in sampled)
        expected = [stamp for stamp in about["stamps"] if second + 0.35 < stamp / 10 < second + 0.75]
        if not near or not turned or not levels or bool(expected) > bool(shown):
            faults.append(f"pictures: {[(round(time_s, 2), grey.mean().round()) for time_s, grey in sampled]}")
    return faults


def judge(clip, about):
    """Return what is wrong and not listed about an edited recording; anything that is listed about a good one."""
    info = measure(clip)
    good = about["damage"] == "none"
    if isinstance(info, Faulty):
        return [info.problem] if good else []
    ends_s = 1 + max(about["delays_s"]) - min(about["delays_s"])
    inside = [second for second in (0, 1) if info.duration_s > second + ends_s - 0.15 * good]
    faults = [problem for problem, _ in info.remarks if good and not problem.startswith(("several", "length claimed"))]
    faults += [f"lacks a part: {info}"] if good and not (info.has_audio and info.has_video and len(inside) == 2) else []
    if good or not info.remarks:
        faults += [fault for second in inside for fault in faults_of(clip, about, info, second)]
    return faults


def test_edited_recording_is_read_right_or_a_problem_is_listed(tmp_path):
    draw, silent = random.Random(2), []
    for _ in range(PERTURBATIONS):
        clip, about = edited(tmp_path, draw)
        silent += [(about, faults)] if (faults := judge(clip, about)) else []
        clip.unlink()
    assert not silent, (len(silent), silent[:3])
