"""Sound that counts as absent, against a detector of speech by others."""

import numpy as np
import pytest

from pipeline.audio.hearing import hear
from pipeline.media.files import probe
from pipeline.media.sound import SAMPLE_RATE_HZ, SoundFile
from tests.helpers.clips import SHARED, needs_media, tone, write_clip

CLIPS = ("speech.wav", "single_face.mp4", "face_noface.mov", "no_face.mp4", "WolfgangLanger_Pexels.mp4")


def says_speech(samples_T: np.ndarray) -> bool:
    """Return whether Silero (the weights that faster-whisper carries) hears speech."""
    vad = pytest.importorskip("faster_whisper.vad", reason="Silero's weights come with faster-whisper")
    options = vad.VadOptions(threshold=0.5, min_speech_duration_ms=100, min_silence_duration_ms=100)
    return len(samples_T) > 0 and bool(vad.get_speech_timestamps(samples_T, options))


@needs_media
def test_sound_that_is_absent_holds_no_speech():
    """Seconds of real recordings: what is silent by our rule holds none by Silero's, and speech is never absent."""
    counts = {(usable, spoken): 0 for usable in (True, False) for spoken in (True, False)}
    for name in CLIPS:
        clip = SHARED / "media" / name
        info = probe(clip)
        for second in range(int(info.duration_s) if info.has_audio else 0):
            heard = hear(SoundFile, str(clip), float(second), second + 1.0, 0.08)
            counts[heard.usable, says_speech(SoundFile(clip).read(second, second + 1.0))] += 1
    assert counts[False, True] == 0
    assert counts[True, True] >= 5 and counts[False, False] >= 19


def test_speech_between_silence_is_heard_where_it_is(tmp_path):
    """By hand: silence, a voice-like tone, silence."""
    silence = np.zeros((1, SAMPLE_RATE_HZ), np.float32)
    clip = write_clip(tmp_path / "a.wav", sound=np.hstack([silence, tone(1.0), silence]))
    usable = [hear(SoundFile, str(clip), float(second), second + 1.0, 0.08).usable for second in range(3)]
    assert usable == [False, True, False]
