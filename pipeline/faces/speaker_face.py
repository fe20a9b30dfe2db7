"""The speaker's face in each sampled frame of an utterance, cut out in a worker process.

Where several people are in the picture, the setting `extract_visual.face` chooses one. `largest`: in each frame the
largest face, since the camera mostly shows the speaker closest. `longest_track`: the person seen in most frames.
`most_lip_motion`: the person whose lips move with the sound (`pipeline.faces.lips`); the longest track where there is
only one track, no sound, or nobody whose lips move with it.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from pipeline.extraction.records import Clock, Measured, Record
from pipeline.faces import lips
from pipeline.faces.finder import WHOLE_FRAME, Box, Follower, cut, largest, least_side, make_finder, within
from pipeline.faces.scaling import shrink_picture
from pipeline.faces.tracks import Track, is_cut, link, longest, thumbnail
from pipeline.media.files import LastOpened, MediaError, verify_hwaccel
from pipeline.media.pictures import PictureFile, Span
from pipeline.media.sound import SAMPLE_RATE_HZ, Sound, SoundFile
from pipeline.rows.utterances import Region

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import ExtractVisual

LARGEST, LONGEST_TRACK, MOST_LIP_MOTION = range(3)  # rules that can decide the choice, as `quality/choice` stores them
_ROUNDING = 32  # grey levels by which codecs may change a still picture (measured: 19); a moving face changes it more
VERSION = 4  # version of the choice among tracks; to be raised whenever it may choose another face


class UtteranceMedia(NamedTuple):
    """Files and times at which an utterance is seen and heard."""

    path: str  # file of the picture
    start_s: float
    end_s: float
    region: Region = Region()  # part of the picture that shows the speaker; nothing outside it is used
    sound: tuple[str, float, float] | None = None  # file, begin and end; None = there is none, or it is not needed


@dataclass(frozen=True, slots=True)
class SpeakerFaces:
    """Faces of one utterance's speaker."""

    frames: int  # sampled
    faces: np.ndarray  # [faces, S, S] uint8, or [faces, S, S, 3] in colour, from the frames that show the chosen face
    problem: str = ""  # what is wrong with the media
    remark: str = ""  # what is odd about its picture
    size: float = 0.0  # mean area of those faces, as a share of the picture's (of its region's)
    tracks: int = 0  # faces followed over the frames, whichever was chosen
    choice: int = LARGEST  # `LARGEST`, `LONGEST_TRACK` or `MOST_LIP_MOTION`
    pictures: tuple[np.ndarray, ...] = ()  # the sampled frames [H, W, 3], reduced, where the network sees them
    heard: Record | None = None  # what the worker's ear made of the sound that was read with the picture


class _Frame(NamedTuple):
    """A sampled frame: its time, size in pixels, faces and their cut-outs, whether it begins a new shot and is a still.

    A still differs by no more than a codec's rounding from the utterance's first frame.
    """

    time_s: float
    pixels: int
    boxes: list[Box]
    cuts: list[np.ndarray]
    new_shot: bool
    still: bool
    picture: np.ndarray | None = None  # reduced, where the network sees whole frames


def _grey(image: np.ndarray) -> np.ndarray:
    """Return a picture in RGB [H, W, 3] in grey [H, W]; a grey one as it is."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two grey pictures [H, W] uint8 differ by nothing but a codec's rounding."""
    return one.shape == other.shape and cv2.absdiff(one, other).max(initial=0) <= _ROUNDING


def choice_identity(face: str) -> dict[str, object]:
    """Return the part of the features' identity that names the choice; empty for `largest`, the first there was."""
    return {} if face == "largest" else {"face": {"choice": face, "version": VERSION}}


class FaceWorker:
    """Cuts the speaker's face [S, S] out of the sampled frames of utterances; `hwaccel` as of `open_media`.

    In `colour`, faces are [S, S, 3], and the frames are kept where the setting `view` asks for them. `make_ear` returns
    the function that makes the record of an utterance's sound and length; it receives the sound that lies in the file
    of the picture, from the same pass over it.
    """

    def __init__(
        self,
        settings: "ExtractVisual",
        size: int,
        hwaccel: str | None = None,
        colour: bool = False,
        make_ear: Callable[[], Callable[[Sound, float], Record]] | None = None,
    ):
        if hwaccel is not None:
            verify_hwaccel(hwaccel)
        cv2.setNumThreads(1)  # a second thread mostly spins: the finder's pictures are small
        self._settings, self._size, self._colour = settings, size, colour
        self._ear = make_ear and make_ear()
        self._finder = make_finder(settings.finder, settings.min_face) if settings.view != "frame" else None
        open_picture = functools.partial(PictureFile, hwaccel=hwaccel, colour=colour)
        self._open_region = LastOpened(open_picture)
        least_px = least_side(settings.finder, settings.min_face, size)
        self._open_picture = LastOpened(functools.partial(open_picture, least_px=least_px))
        self._open_sound = LastOpened(SoundFile)

    def __call__(self, parts: Sequence[UtteranceMedia]) -> Measured:
        """Return the `SpeakerFaces` of each of some utterances of one file: the same alone as together with others.

        They are all seen in the whole picture, or each in a region of it.
        """
        clock = Clock()
        together = self._ear and all(part.sound == (part.path, part.start_s, part.end_s) for part in parts)
        sounds = {} if together else None
        frames, problem = self._sample(parts, sounds, clock)
        faces = [self._choose(part, seen, problem, clock) for part, seen in zip(parts, frames, strict=True)]
        with clock.step("sound"):
            for number, sound in (sounds or {}).items():
                length_s = parts[number].end_s - parts[number].start_s
                faces[number] = replace(faces[number], heard=self._ear(sound, length_s))
        return Measured(faces, clock.seconds)

    def _sample(
        self, parts: Sequence[UtteranceMedia], sounds: dict[int, Sound] | None, clock: Clock
    ) -> tuple[list[list[_Frame]], str]:
        """Return each utterance's sampled frames, and the file's problem; `sounds` as of `PictureFile.sample`."""
        settings = self._settings
        margin = 0.0 if settings.finder == WHOLE_FRAME else settings.margin
        frames, first = [[] for _ in parts], [None] * len(parts)
        before, thumbnails = [None] * len(parts), [None] * len(parts)  # of the sampled frame before
        followers = [Follower(self._finder, only_largest=settings.face == "largest") for _ in parts]
        spans = [Span(part.start_s, part.end_s) for part in parts]
        try:
            with clock.step("decode"):
                sampled = self._picture(parts[0]).sample(spans, settings.frames_per_s, settings.max_frames, sounds)
            for number, time_s, image in clock.each("decode", sampled):
                with clock.step("faces"):
                    colours, last = within(image, parts[number].region), frames[number][-1:]
                    image = _grey(colours)
                    if before[number] is not None and np.array_equal(before[number], image):
                        frames[number].append(last[0]._replace(time_s=time_s, new_shot=False))
                        continue
                    small = thumbnail(image)
                    new_shot = before[number] is not None and is_cut(thumbnails[number], small)
                    boxes = followers[number].find(time_s, image, new_shot) if self._finder else []
                    cuts = [cut(colours, box, margin, self._size, self._colour) for box in boxes]
                    picture = None if settings.view == "face" else shrink_picture(colours, self._size)
                    first[number] = image if first[number] is None else first[number]
                    still = all(frame.still for frame in last) and _is_same(first[number], image)
                    frames[number].append(_Frame(time_s, image.size, boxes, cuts, new_shot, still, picture))
                    before[number], thumbnails[number] = image, small
        except MediaError as error:
            return frames, error.problem
        return frames, ""

    def _picture(self, part: UtteranceMedia) -> PictureFile:
        """Open the file of an utterance; a part of its picture has fewer pixels, of which none can be spared."""
        return (self._open_picture if part.region == Region() else self._open_region)(part.path)

    def _choose(self, part: UtteranceMedia, frames: Sequence[_Frame], problem: str, clock: Clock) -> SpeakerFaces:
        if not frames and not problem:
            problem = f"no frame between {part.start_s:.2f} s and {part.end_s:.2f} s"
        tracks = link([frame.boxes for frame in frames], [frame.new_shot for frame in frames])
        if self._settings.face == "largest":  # in each frame on its own
            choice = LARGEST
            seen = [(number, frame.boxes) for number, frame in enumerate(frames) if frame.boxes]
            chosen = [(number, boxes.index(largest(boxes))) for number, boxes in seen]
        else:
            with clock.step("speaking face"):
                choice, track, unheard = self._choose_track(frames, tracks, part)
            chosen = [] if track is None else list(zip(track.frames, track.faces, strict=True))
            problem = problem or unheard
        faces = [frames[number].cuts[face] for number, face in chosen]
        areas = [frames[number].boxes[face].area / frames[number].pixels for number, face in chosen]
        stacked = np.stack(faces) if faces else np.zeros((0, self._size, self._size), np.uint8)
        size = float(np.mean(areas)) if areas else 0.0
        still = len(frames) > 1 and frames[-1].still
        remark = f"picture does not change: {len(frames)} equal samples" if still else ""
        pictures = tuple(frame.picture for frame in frames if frame.picture is not None)
        return SpeakerFaces(len(frames), stacked, problem, remark, size, len(tracks), choice, pictures)

    def _choose_track(
        self, frames: Sequence[_Frame], tracks: Sequence[Track], part: UtteranceMedia
    ) -> tuple[int, Track | None, str]:
        """Return what decided, the track, and the problem of the sound."""
        if self._settings.face != "most_lip_motion" or len(tracks) < 2 or part.sound is None:
            return LONGEST_TRACK, longest(tracks), ""
        try:
            sampled, sound = self._film(part)
            pictures = ((time_s, _grey(within(image, part.region))) for time_s, image in sampled)
            times_s = [frame.time_s for frame in frames]
            speaking = lips.speaking(tracks, times_s, pictures, sound, SAMPLE_RATE_HZ, part.start_s)
        except MediaError as error:
            return LONGEST_TRACK, longest(tracks), f"speaking face not known: {error.problem}"
        if speaking is None:
            return LONGEST_TRACK, longest(tracks), ""
        return MOST_LIP_MOTION, speaking, ""

    def _film(self, part: UtteranceMedia) -> tuple[Iterator[tuple[float, np.ndarray]], np.ndarray]:
        """Return time and frame of an utterance's pictures, as many as lips need, and the samples of its sound."""
        picture, span = self._picture(part), Span(part.start_s, part.end_s)
        rates = lips.FRAMES_PER_S, math.ceil((part.end_s - part.start_s) * lips.FRAMES_PER_S)
        sounds = {} if part.sound == (part.path, *span) else None
        sampled = picture.sample([span], *rates, sounds)
        first = [*itertools.islice(sampled, 1)]  # with it comes the sound
        if sounds:
            sound, _, begin_s = sounds[0]
        else:
            recording, *heard = part.sound
            file = self._open_sound(recording)
            sound, begin_s = file.read(*heard), file.begin_s
        late = round((begin_s - part.sound[1]) * SAMPLE_RATE_HZ) if len(sound) else 0
        sound = np.pad(sound, (late, 0))  # the track may begin after the utterance
        return ((time_s, image) for _, time_s, image in itertools.chain(first, sampled)), sound
