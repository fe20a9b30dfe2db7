"""Whose lips move with the sound: drawn faces of known mouths."""

import cv2
import numpy as np
import pytest

from pipeline.demo.face import Pose, face_square
from pipeline.faces import lips
from pipeline.faces.lips import covariation, lip_motion, loudness, mouth_change, speaking
from pipeline.faces.tracks import Track
from tests.helpers.drawn_faces import Person, draw_people, mouth_at, speech

FPS, RATE_HZ, SECONDS = 25, 16000, 2.4
TIMES = np.arange(0, SECONDS, 1 / FPS)
MIDDLE = Pose(x_px=80, y_px=85, size=1.0)
LEFT, RIGHT = Pose(x_px=80, y_px=85, size=0.7), Pose(x_px=230, y_px=85, size=1.1)


def box_of(pose):
    """Where the cascade finds a drawn face."""
    return np.array(face_square(pose, margin=0.0), float)


def face(open=0.0, pose=MIDDLE, scale=1):
    """Return the face [48, 48] for `mouth_change`: at the same place of the picture, wherever it has moved."""
    picture = cv2.resize(draw_people(Person(1, pose, open)), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return lips._face(picture, scale * box_of(MIDDLE))


def test_mouth_change_is_of_the_mouth():
    assert mouth_change(face(), face()) == 0
    opened = mouth_change(face(), face(open=0.6))
    assert opened > 0.1
    for moved in (Pose(x_px=82, y_px=85), Pose(x_px=80, y_px=82.5), Pose(x_px=81, y_px=86)):
        assert abs(mouth_change(face(), face(pose=moved))) < opened / 4
        assert mouth_change(face(), face(open=0.6, pose=moved)) > opened / 2


def test_mouth_change_is_the_same_at_any_size_and_light():
    plain = mouth_change(face(), face(open=0.5))
    assert mouth_change(face(scale=2), face(open=0.5, scale=2)) == pytest.approx(plain, rel=0.15)
    assert mouth_change(face() / 2 + 20, face(open=0.5) / 2 + 20) == pytest.approx(plain, rel=0.05)


def test_mouth_change_of_a_grey_square_is_nothing():
    grey = np.full((48, 48), 90, np.float32)
    assert mouth_change(grey, grey) == 0


def test_loudness_is_in_decibels_below_the_loudest():
    """Amplitudes 1, 0.1, 0.001: 0, -20 and -60 dB; of 40 dB that is 1, 1/2 and 0. Behind the end it is silent."""
    samples = np.repeat([1.0, 0.1, 0.001], RATE_HZ)
    assert loudness(samples, RATE_HZ, np.array([0.5, 1.5, 2.5, 9.0, -1.0])) == pytest.approx(
        [1, 0.5, 0, 0, 0], abs=1e-6
    )


def test_covariation_by_hand():
    """(-1)(-1/2) + 0 + (1)(1/2) = 1."""
    assert covariation(np.array([0.0, 1, 2]), np.array([0, 0.5, 1])) == 1
    assert covariation(np.array([2.0, 1, 0]), np.array([0, 0.5, 1])) == -1
    assert covariation(np.array([5.0, 5, 5]), np.array([0, 0.5, 1])) == 0
    assert covariation(np.array([0.0, 1]), np.array([0, 1])) == 0


def scene(left, right, shown=TIMES):
    """Frames of two faces from the mouths (and poses) that two functions of the time give; and their tracks."""
    frames = []
    for time_s in shown:
        people = []
        for look, place, of in ((1, LEFT, left), (2, RIGHT, right)):
            given = of(time_s)
            mouth, pose = given if isinstance(given, tuple) else (given, place)
            people.append(Person(look, pose, mouth))
        frames.append((time_s, draw_people(*people)))
    sampled = list(shown[::5])
    tracks = [Track(list(range(len(sampled))), [0] * len(sampled), [box_of(at)] * len(sampled)) for at in (LEFT, RIGHT)]
    return tracks, sampled, frames


def still(time_s):
    return 0.0


def chewing(time_s):
    return mouth_at(time_s, loud=False)


def nodding(time_s):
    """Move the whole head with the sound, mouth shut."""
    turn = np.sin(2 * np.pi * 2.5 * time_s) * bool(mouth_at(time_s))
    return 0.0, Pose(x_px=RIGHT.x_px + turn, y_px=RIGHT.y_px + 4 * turn, size=RIGHT.size)


@pytest.mark.parametrize("other", [still, chewing, nodding])
def test_speaking_is_whose_lips_move_with_the_sound_though_the_other_is_larger(other):
    tracks, sampled, frames = scene(mouth_at, other)
    assert speaking(tracks, sampled, frames, speech(SECONDS), RATE_HZ, 0.0) is tracks[0]


def test_speaking_is_the_larger_where_it_is_the_one_that_speaks():
    tracks, sampled, frames = scene(chewing, mouth_at)
    assert speaking(tracks, sampled, frames, speech(SECONDS), RATE_HZ, 0.0) is tracks[1]


def test_speaking_knows_where_the_utterance_begins_in_its_file():
    """The same, ten seconds into the picture's file; taken as if it began with the file, the sound would be over."""
    tracks, sampled, frames = scene(mouth_at, chewing)
    later = [(time_s + 10, image) for time_s, image in frames]
    sampled = [time_s + 10 for time_s in sampled]
    assert speaking(tracks, sampled, later, speech(SECONDS), RATE_HZ, 10.0) is tracks[0]
    assert speaking(tracks, sampled, later, speech(SECONDS), RATE_HZ, 0.0) is None


def test_speaking_is_nobody_without_sound_or_where_all_move_beside_it():
    tracks, sampled, frames = scene(chewing, chewing)
    assert speaking(tracks, sampled, frames, speech(SECONDS), RATE_HZ, 0.0) is None
    assert speaking(tracks, sampled, frames, np.zeros(RATE_HZ), RATE_HZ, 0.0) is None
    assert speaking(tracks, sampled, frames, np.zeros(0), RATE_HZ, 0.0) is None
    assert speaking([], sampled, frames, speech(SECONDS), RATE_HZ, 0.0) is None
    assert speaking(tracks, sampled, [], speech(SECONDS), RATE_HZ, 0.0) is None


def test_lip_motion_is_looked_at_while_a_track_is_seen():
    tracks, sampled, frames = scene(mouth_at, still, shown=TIMES[:30])
    late = Track([3, 4], [0, 0], tracks[0].boxes[:2])
    whole, part = lip_motion([tracks[0], late], sampled, frames)
    assert len(whole.times_s) == 25  # 25 steps between the first and the last of six sampled frames, five frames apart
    assert len(part.times_s) == 5 and sampled[3] < part.times_s[0] and part.times_s[-1] < sampled[4]
    one = Track([3], [0], tracks[0].boxes[:1])
    assert [len(curve.times_s) for curve in lip_motion([one], sampled, frames)] == [0]
