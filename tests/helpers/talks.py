"""Short talks for tests: a drawn face, a voice-like sound, and the subtitles of both."""

from pathlib import Path

import numpy as np

from tests.helpers.clips import tone, write_clip
from tests.helpers.drawn_faces import Person, draw_people, draw_scene
from tests.helpers.own_files import cues

SPOKEN = ("ANNA: what a wonderful letter", "BO: the train was late", "ANNA: your brother again", "BO: an old house")


def write_talk(
    path: Path,
    *,
    spoken: tuple[str, ...] = SPOKEN,
    picture: bool = True,
    sound: bool | np.ndarray = True,
    subtitles: bool = True,
    people: tuple[Person, ...] = (),
    **clip,
) -> Path:
    """Write a talk of two seconds per cue; `clip` are arguments of `write_clip`. Return its path."""
    seconds = 2.0 * len(spoken) + 1.0
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_people(*people) if people else draw_scene("joy")[0]
    options = {
        "sound": tone(seconds) if sound is True else None if sound is False else sound,
        "pictures": [drawn] * round(10 * seconds) if picture else None,
    }
    write_clip(path, **options | clip)
    if subtitles:
        path.with_suffix(".srt").write_text(cues(*spoken), encoding="utf-8")
    return path
