"""The speaker's face in each sampled frame of an utterance, cut out in a worker process.

Where several people are in the picture, `extract_visual.face` says whose face is taken. `largest`: in each frame the
largest, whoever it is; the camera mostly shows the speaker closest. `longest_track`: one person's, the one seen in most
frames. `most_lip_motion`: one person's, the one whose lips move with the sound (`pipeline.faces.lips`); the longest
track's where there is but one track, no sound, or nobody whose lips move with it.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.extraction.steps import Clock, Measured
from pipeline.faces import lips
from pipeline.faces.finder import WHOLE_FRAME, Box, Finder, cut, largest, make_finder, within
from pipeline.faces.tracks import Track, is_cut, link, longest, thumbnail
from pipeline.media.files import LastOpened, MediaError, verify_hwaccel
from pipeline.media.pictures import PictureFile, Span
from pipeline.media.sound import SAMPLE_RATE_HZ, SoundFile
from pipeline.rows.utterances import Region

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import ExtractVisual

LARGEST, LONGEST_TRACK, MOST_LIP_MOTION = range(3)
"""What decided, as `quality/choice` has it."""

VERSION = 1
"""Of the choice among tracks; to be raised whenever another face may come to be chosen."""


class Look(NamedTuple):
    """Where an utterance is seen and heard.

    Attributes:
        path: file of the picture.
        start_s: begin of the utterance there.
        end_s: its end.
        region: part of the picture that shows the speaker; nothing outside it is looked at.
        sound: file, begin and end of the sound; None = there is none, or it is not asked for.
    """

    path: str
    start_s: float
    end_s: float
    region: Region = Region()
    sound: tuple[str, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one utterance.

    Attributes:
        frames: how many were sampled.
        faces: [faces, S, S] uint8, of the frames where the chosen face is seen.
        problem: what was found wrong, or empty.
        size: mean area of those faces, as a share of the picture's (of its region's).
        tracks: faces followed over the frames, whichever was chosen.
        choice: `LARGEST`, `LONGEST_TRACK` or `MOST_LIP_MOTION`.
    """

    frames: int
    faces: np.ndarray
    problem: str = ""
    size: float = 0.0
    tracks: int = 0
    choice: int = LARGEST


@dataclass(frozen=True, slots=True)
class _Frame:
    """A sampled frame: its time, its size in pixels, its faces and their cut-outs, and whether it begins a new shot."""

    time_s: float
    pixels: int
    boxes: list[Box]
    cuts: list[np.ndarray]
    new_shot: bool


def choice_identity(face: str) -> dict[str, object]:
    """What of a setting `extract_visual.face` decides which faces are chosen; nothing for `largest`, as it ever was."""
    return {} if face == "largest" else {"face": {"choice": face, "version": VERSION}}


# ---------------------------------------------------------------------------------------------------- in a worker

_finder: Finder | None = None
_settings: "ExtractVisual | None" = None
_size = 0
_pictures = LastOpened(PictureFile)
_sounds = LastOpened(SoundFile)


def start_worker(settings: "ExtractVisual", size: int, hwaccel: str | None = None) -> None:
    """Prepare a process for `cut_faces`: settings, S in pixels, and the kind of device that decodes.

    Raises:
        InputError: there is no such finder or device.
    """
    global _finder, _settings, _size, _pictures
    if hwaccel is not None:
        verify_hwaccel(hwaccel)
    _finder, _settings, _size = make_finder(settings.finder, settings.min_face), settings, size
    for files in (_pictures, _sounds):  # where the process has worked before, on what may be other files by now
        files.close()
    _pictures = LastOpened(functools.partial(PictureFile, hwaccel=hwaccel))


def cut_faces(looks: Sequence[Look]) -> Measured:
    """Decode the pictures of utterances of one file; cut the speaker's face out of each sampled frame that shows it.

    Returns:
        A list of `Faces`, one for each utterance: the same alone as together with others.
    """
    clock = Clock()
    seen, problem = _sampled(looks, clock)
    faces = [_chosen(look, frames, problem, clock) for look, frames in zip(looks, seen, strict=True)]
    return Measured(faces, clock.seconds)


def _chosen(look: Look, seen: Sequence[_Frame], problem: str, clock: Clock) -> Faces:
    if not seen and not problem:
        problem = f"no frame between {look.start_s:.2f} s and {look.end_s:.2f} s"
    tracks = link([frame.boxes for frame in seen], [frame.new_shot for frame in seen])
    if _settings.face == "largest":
        choice, chosen = LARGEST, _largest_of_each(seen)
    else:
        with clock.step("speaking face"):
            choice, track, unheard = _choose_track(seen, tracks, look)
        chosen, problem = _places(track), problem or unheard
    faces = [seen[frame].cuts[face] for frame, face in chosen]
    areas = [seen[frame].boxes[face].area / seen[frame].pixels for frame, face in chosen]
    return Faces(
        frames=len(seen),
        faces=np.stack(faces) if faces else np.zeros((0, _size, _size), np.uint8),
        problem=problem,
        size=float(np.mean(areas)) if areas else 0.0,
        tracks=len(tracks),
        choice=choice,
    )


def _sampled(looks: Sequence[Look], clock: Clock) -> tuple[list[list[_Frame]], str]:
    """Of each utterance the sampled frames with their faces; and what was wrong with the file."""
    margin = 0.0 if _settings.finder == WHOLE_FRAME else _settings.margin
    seen, before = [[] for _ in looks], [None] * len(looks)
    spans = [Span(look.start_s, look.end_s) for look in looks]
    try:
        with clock.step("decode"):
            sampled = _pictures(looks[0].path).sample(spans, _settings.frames_per_s, _settings.max_frames)
        for number, time_s, image in clock.each("decode", sampled):
            with clock.step("faces"):
                image = within(image, looks[number].region)
                boxes, small = _finder.find(image), thumbnail(image)
                cuts = [cut(image, box, margin, _size) for box in boxes]
                new_shot = before[number] is not None and is_cut(before[number], small)
                seen[number].append(_Frame(time_s, image.size, boxes, cuts, new_shot))
                before[number] = small
    except MediaError as error:
        return seen, error.problem
    return seen, ""


def _largest_of_each(seen: Sequence[_Frame]) -> list[tuple[int, int]]:
    """Frame, and face in it."""
    return [(number, frame.boxes.index(largest(frame.boxes))) for number, frame in enumerate(seen) if frame.boxes]


def _choose_track(seen: Sequence[_Frame], tracks: Sequence[Track], look: Look) -> tuple[int, Track | None, str]:
    """What decided, the track, and what was wrong with the sound."""
    if _settings.face != "most_lip_motion" or len(tracks) < 2 or look.sound is None:
        return LONGEST_TRACK, longest(tracks), ""
    every = math.ceil((look.end_s - look.start_s) * lips.FRAMES_PER_S)
    frames = _pictures(look.path).sample([Span(look.start_s, look.end_s)], lips.FRAMES_PER_S, every)
    inside = ((time_s, within(image, look.region)) for _, time_s, image in frames)
    recording, *heard = look.sound
    try:
        sound = _sounds(recording).read(*heard)
        times_s = [frame.time_s for frame in seen]
        speaking = lips.speaking(tracks, times_s, inside, sound, SAMPLE_RATE_HZ, look.start_s)
    except MediaError as error:
        return LONGEST_TRACK, longest(tracks), f"speaking face not known: {error.problem}"
    if speaking is None:
        return LONGEST_TRACK, longest(tracks), ""
    return MOST_LIP_MOTION, speaking, ""


def _places(track: Track | None) -> list[tuple[int, int]]:
    return [] if track is None else list(zip(track.frames, track.faces, strict=True))
