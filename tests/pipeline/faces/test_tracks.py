"""Faces followed from frame to frame: one person, one track."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.demo.face import Pose
from pipeline.faces.tracks import MAX_MISSED, Track, is_cut, link, longest, thumbnail
from tests.helpers.clips import SHARED, needs_media, read_frames
from tests.helpers.drawn_faces import Person, draw_people


def followed(boxes, cuts=()):
    """Frames of each track, and which face of each."""
    cuts = cuts or [False] * len(boxes)
    return [list(zip(track.frames, track.faces, strict=True)) for track in link(boxes, cuts)]


def at(x, y=0, side=10):
    return (x, y, side, side)


def test_one_face_is_one_track():
    assert followed([[at(0)], [at(1)], [at(0)], [at(2)]]) == [[(0, 0), (1, 0), (2, 0), (3, 0)]]


def test_no_face_is_no_track():
    assert followed([]) == []
    assert followed([[], []]) == []


def test_faces_side_by_side_are_told_apart_in_whatever_order_they_are_found():
    assert followed([[at(0), at(50)], [at(50), at(1)], [at(2), at(51)]]) == [
        [(0, 0), (1, 1), (2, 0)],
        [(0, 1), (1, 0), (2, 1)],
    ]


def test_faces_are_assigned_together_not_one_after_the_other():
    """Of the first track's two choices the better (overlap 7/13 with x = 3) is all that the second has (4/16)."""
    boxes = [[at(0), at(9)], [at(3), at(-5)]]
    assert followed(boxes) == [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]


def test_overlaps_that_are_too_small_for_a_track_do_not_keep_a_face_from_its_own():
    """Beside the second face's 0.30, two overlaps of 0.19 and together of 0.38, of which neither makes a track."""
    boxes = [[at(0, side=100), at(122, side=100)], [at(54, side=100), at(-68, side=100)]]
    assert followed(boxes) == [[(0, 0), (1, 0)], [(0, 1)], [(1, 1)]]


@pytest.mark.parametrize(("missed", "tracks"), [(1, 1), (MAX_MISSED, 1), (MAX_MISSED + 1, 2)])
def test_a_face_may_be_missed_for_a_few_frames(missed, tracks):
    assert len(followed([[at(0)], *[[]] * missed, [at(1)]])) == tracks


def test_a_face_that_moves_on_while_missed_is_met_where_it_must_be():
    """Four pixels a frame, of ten: after two frames without it the last box and the next no longer overlap."""
    assert len(followed([[at(0)], [at(4)], [at(8)], [], [], [at(20)]])) == 1
    assert len(followed([[at(8)], [], [], [at(20)]])) == 2


def test_a_face_that_appears_late_has_its_own_track():
    assert followed([[at(0)], [at(0)], [at(0), at(40)], [at(40), at(0)]]) == [
        [(0, 0), (1, 0), (2, 0), (3, 1)],
        [(2, 1), (3, 0)],
    ]


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_faces_that_cross_keep_their_tracks(hidden):
    """One goes right, the other left, a face's width apart in depth; in the middle the one behind is not found."""
    boxes = []
    for frame in range(13):
        right, left = at(4 * frame), at(48 - 4 * frame, y=1)
        boxes.append([right] if abs(frame - 6) < hidden else [left, right])
    tracks = link(boxes, [False] * len(boxes))
    assert len(tracks) == 2
    for track in tracks:
        steps = np.diff([box[0] for box in track.boxes])
        assert (steps > 0).all() or (steps < 0).all()


def test_a_cut_ends_every_track():
    assert followed([[at(0)], [at(0)], [at(0)]], cuts=[False, False, True]) == [[(0, 0), (1, 0)], [(2, 0)]]


box_rows = st.tuples(*[st.integers(0, 60)] * 2, st.integers(1, 30), st.integers(1, 30))


@settings(deadline=None)  # a busy machine is no fault of the tracks
@given(st.lists(st.tuples(st.lists(box_rows, max_size=4), st.booleans()), max_size=12))
def test_every_face_is_in_one_track_and_no_track_has_two_of_a_frame(frames):
    boxes, cuts = [found for found, _ in frames], [cut for _, cut in frames]
    tracks = link(boxes, cuts)
    faces = sorted(place for track in tracks for place in zip(track.frames, track.faces, strict=True))
    assert faces == [(frame, face) for frame, found in enumerate(boxes) for face in range(len(found))]
    for track in tracks:
        assert track.frames == sorted(set(track.frames))
        assert not any(cuts[track.frames[0] + 1 : track.frames[-1] + 1])
        assert all(tuple(box) == boxes[f][g] for f, g, box in zip(track.frames, track.faces, track.boxes, strict=True))


def test_longest_is_of_most_frames_then_of_the_largest_face():
    short, small, large = (Track(frames, frames, [np.array(at(0, side=side))] * len(frames))
                           for frames, side in (([0], 90), ([0, 1], 10), ([4, 9], 20)))  # fmt: skip
    assert longest([short, small, large]) is large
    assert longest([short, small]) is small
    assert longest([]) is None


def test_cut_is_another_picture_not_a_movement():
    ann, ben = (Person(look, Pose(x_px=x, y_px=90)) for look, x in ((1, 90), (2, 235)))
    before = thumbnail(draw_people(ann))
    moved = thumbnail(draw_people(ann._replace(pose=Pose(x_px=96, y_px=93), open=0.8)))
    assert not is_cut(before, moved)
    assert not is_cut(before, thumbnail(draw_people(ann) // 2))  # the light changes
    assert is_cut(before, thumbnail(draw_people(ben, room=5)))


def test_cut_to_and_from_a_blank_picture():
    blank, face = np.full((18, 32), 90, np.float32), thumbnail(draw_people(Person(1, Pose(x_px=90, y_px=90))))
    assert is_cut(blank, face) and is_cut(face, blank)


@needs_media
def test_real_clips_have_no_cut_inside_and_one_between():
    small = {}
    for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4"):
        frames = read_frames(SHARED / "media" / name, 0.0, 2.4, 5.0, 50)
        small[name] = [thumbnail(image) for _, image in frames]
        assert not any(is_cut(*pair) for pair in zip(small[name], small[name][1:], strict=False))
    assert all(is_cut(one, other) for one, other in zip(*small.values(), strict=False))
