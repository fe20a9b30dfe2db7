"""The speaker's face of an utterance, out of drawn and real clips."""

import av
import cv2
import numpy as np
import pytest

from pipeline.demo.face import Pose, face_square
from pipeline.faces import speaker_face
from pipeline.faces.finder import Haar, cut, largest
from pipeline.faces.speaker_face import (
    LARGEST,
    LONGEST_TRACK,
    MOST_LIP_MOTION,
    FaceWorker,
    UtteranceMedia,
    choice_identity,
)
from pipeline.media import files as media
from pipeline.media import pictures
from pipeline.media import sound as sounds
from pipeline.media.files import probe
from pipeline.rows.utterances import Region
from pipeline.settings import load_settings
from tests.helpers.clips import SHARED, needs_media, read_frames, tone, write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.drawn_faces import Person, draw_people, draw_scene, mouth_at, speech
from tests.helpers.face_models import visual_settings

WHOLE = Region()
FPS, SECONDS = 25, 2.4
SMALL, LARGE = Pose(x_px=80, y_px=85, size=0.75), Pose(x_px=230, y_px=85, size=1.1)
PIXELS = 320 * 180


def test_cut_faces_counts_frames_and_tells_of_unreadable_files(tmp_path):
    picture, _ = draw_scene()
    blank = np.full((120, 160), 90, np.uint8)
    clip = write_clip(tmp_path / "clip.mp4", pictures=[picture] * 5 + [blank] * 5, frames_per_s=10)
    cut_faces = FaceWorker(visual_settings(), 24)
    found = cut_faces([UtteranceMedia(str(clip), 0.0, 1.0, WHOLE)]).result[0]  # 5 samples: 2 or 3 lie in the first half
    assert found.frames == 5 and len(found.faces) in (2, 3) and found.faces.shape[1:] == (24, 24)
    lost = cut_faces([UtteranceMedia(str(tmp_path / "none.mp4"), 0.0, 1.0, WHOLE)]).result[0]
    assert lost.frames == 0 and lost.problem and lost.faces.shape == (0, 24, 24)
    behind = cut_faces([UtteranceMedia(str(clip), 5.0, 6.0, WHOLE)]).result[0]
    assert behind.frames == 0 and behind.problem == "no frame between 5.00 s and 6.00 s"


def test_cut_faces_of_whole_frames_adds_no_margin(tmp_path):
    grey = np.tile(np.linspace(20, 230, 64).astype(np.uint8), (64, 1))
    clip = write_clip(tmp_path / "clip.mp4", pictures=[grey] * 4, frames_per_s=4)
    cut_faces = FaceWorker(visual_settings(finder="whole_frame", margin=1.0), 64)
    found = cut_faces([UtteranceMedia(str(clip), 0.0, 1.0, WHOLE)]).result[0]
    assert found.frames == len(found.faces) > 2
    assert np.abs(found.faces[0].astype(int) - grey).max() < 12  # what the codec costs


def test_cut_faces_looks_at_the_region_only(tmp_path):
    scene, _ = draw_scene()
    split_screen = np.hstack([scene, np.full_like(scene, 90)])
    clip = write_clip(tmp_path / "clip.mp4", pictures=[split_screen] * 5)
    cut_faces = FaceWorker(visual_settings(), 24)
    found = {side: cut_faces([UtteranceMedia(str(clip), 0.0, 0.5, region)]).result[0] for side, region in
             {"left": Region(right=0.5), "right": Region(left=0.5)}.items()}  # fmt: skip

    assert {side: (cut.frames > 0, len(cut.faces) == cut.frames) for side, cut in found.items()} == {
        "left": (True, True),
        "right": (True, False),
    }
    assert len(found["right"].faces) == 0


def test_frames_with_the_same_pixels_are_searched_once(tmp_path, monkeypatch):
    scenes = [draw_scene(seed=seed)[0] for seed in (0, 1)]
    clip = write_clip(tmp_path / "clip.avi", pictures=[scenes[0]] * 6 + [scenes[1]] * 6, picture_codec="ffv1")
    searched = []
    find = Haar.find
    monkeypatch.setattr(Haar, "find", lambda self, image: searched.append(image) or find(self, image))
    found = FaceWorker(visual_settings(), 24)([UtteranceMedia(str(clip), 0.0, 1.2, WHOLE)]).result[0]
    assert found.frames == len(found.faces) == 6 and len(searched) == 2
    assert np.array_equal(found.faces[0], found.faces[1]) and not np.array_equal(found.faces[0], found.faces[5])


# ---------------------------------------------------------------------------------------------------- which face


def share_of(pose):
    """Area of a drawn face over that of the picture, about as the cascade finds it; LARGE has twice SMALL's."""
    return face_square(pose, margin=0.0)[2] ** 2 / PIXELS


def silent(time_s):
    return 0.0


def chewing(time_s):
    return mouth_at(time_s, loud=False)


def people(small=silent, large=silent, seconds=SECONDS):
    """Pictures of two faces, each with the mouth that a function of the time gives; None = not there."""
    return [
        draw_people(
            *(
                Person(look, pose, mouth(time_s))
                for look, pose, mouth in ((1, SMALL, small), (2, LARGE, large))
                if mouth is not None
            )
        )
        for time_s in np.arange(0, seconds, 1 / FPS)
    ]


def clip_of(path, pictures, sound=None):
    sound = None if sound is None else sound[None]
    return write_clip(path, pictures=pictures, frames_per_s=FPS, sound=sound, rate_hz=16000)


def chosen(clip, face, sound=True, region=WHOLE, seconds=SECONDS):
    cut_faces = FaceWorker(visual_settings(face=face), 24)
    heard = (str(clip), 0.0, seconds) if sound is True else sound
    return cut_faces([UtteranceMedia(str(clip), 0.0, seconds, region, heard or None)]).result[0]


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """Return two faces: the smaller speaks, the larger one moves its mouth in the pauses."""
    path = tmp_path_factory.mktemp("talking") / "clip.mp4"
    return clip_of(path, people(mouth_at, chewing), speech(SECONDS))


def test_largest_takes_the_largest_of_each_frame_as_it_ever_did(talking):
    found = chosen(talking, "largest")
    finder, expected = Haar(visual_settings().min_face), []
    for _, image in read_frames(talking, 0.0, SECONDS, 5.0, 50):
        expected.append(cut(image, largest(finder.find(image)), 0.1, 24))
    assert np.array_equal(found.faces, expected)
    assert (found.frames, found.tracks, found.choice, found.problem) == (12, 2, LARGEST, "")
    assert found.size == pytest.approx(share_of(LARGE), rel=0.3)


def test_most_lip_motion_takes_the_face_that_moves_its_lips_with_the_sound(talking):
    found = chosen(talking, "most_lip_motion")
    assert (found.frames, len(found.faces), found.tracks, found.choice) == (12, 12, 2, MOST_LIP_MOTION)
    assert found.size == pytest.approx(share_of(SMALL), rel=0.3)


def test_most_lip_motion_without_sound_takes_the_longest_track_and_says_so(talking, tmp_path):
    silent_clip = clip_of(
        tmp_path / "silent.mp4", people(mouth_at, chewing), np.zeros(round(SECONDS * 16000), np.float32)
    )
    for clip, sound in ((talking, None), (silent_clip, True)):
        found = chosen(clip, "most_lip_motion", sound)
        assert (found.choice, found.problem) == (LONGEST_TRACK, "")
        assert found.size == pytest.approx(share_of(LARGE), rel=0.3)  # both are seen in all frames: the larger


def test_most_lip_motion_with_a_sound_that_cannot_be_read_tells_of_it(talking, tmp_path):
    found = chosen(talking, "most_lip_motion", (str(tmp_path / "none.wav"), 0.0, SECONDS))
    assert found.choice == LONGEST_TRACK and len(found.faces) == 12
    assert found.problem.startswith("speaking face not known: unreadable")


def test_most_lip_motion_of_one_face_reads_nothing_again(tmp_path, monkeypatch):
    clip = clip_of(tmp_path / "clip.mp4", people(mouth_at, None), speech(SECONDS))
    monkeypatch.setattr(speaker_face, "SoundFile", None)
    found = chosen(clip, "most_lip_motion")
    assert (len(found.faces), found.tracks, found.choice) == (12, 1, LONGEST_TRACK)


def test_most_lip_motion_listens_to_the_sound_of_the_utterance(tmp_path):
    """As in IEMOCAP: the sound is a file of its own, and the utterance lies inside both; before it, both are still."""
    pictures, before = people(mouth_at, chewing), round(SECONDS * FPS)
    clip = clip_of(tmp_path / "clip.mp4", [pictures[0]] * before + pictures)
    recording = np.concatenate([np.zeros(round(SECONDS * 16000), np.float32), speech(SECONDS)])
    sound = write_clip(tmp_path / "turn.wav", sound=recording[None])
    cut_faces = FaceWorker(visual_settings(face="most_lip_motion"), 24)
    part = UtteranceMedia(str(clip), SECONDS, 2 * SECONDS, WHOLE, (str(sound), SECONDS, 2 * SECONDS))
    found = cut_faces([part]).result[0]
    assert found.choice == MOST_LIP_MOTION
    assert found.size == pytest.approx(share_of(SMALL), rel=0.3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_most_lip_motion_hears_a_track_that_begins_late_at_its_time(tmp_path, suffix):
    """The smaller face speaks; the larger one would, if the sound began with the picture."""
    late_s = 0.4
    pictures = people(lambda time_s: mouth_at(time_s - late_s) if time_s >= late_s else 0.0, mouth_at)
    clip, late = clip_of(tmp_path / f"clip{suffix}", pictures, speech(SECONDS - late_s)), tmp_path / f"late{suffix}"
    with av.open(str(clip)) as given, av.open(str(late), "w") as copied:
        streams = {stream.index: copied.add_stream_from_template(stream) for stream in given.streams}
        packets = [packet for packet in given.demux() if packet.size]
        for packet in packets:
            by = round(late_s / packet.time_base) * (packet.stream.type == "audio")
            packet.pts, packet.dts = packet.pts + by, packet.dts + by
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = streams[packet.stream_index]
            copied.mux(packet)
    found = chosen(late, "most_lip_motion")
    assert found.choice == MOST_LIP_MOTION and found.size == pytest.approx(share_of(SMALL), rel=0.3)


def test_the_sound_of_a_film_is_the_same_whatever_was_read_before(tmp_path):
    """It begins 80 ms late: the second time it is read on its own."""
    early, clip = tmp_path / "early.mov", tmp_path / "late.mov"
    write_clip(early, sound=tone(3), sound_codec="pcm_s16le", pictures=[np.zeros((32, 48), np.uint8)] * 30)
    with av.open(str(early)) as source, av.open(str(clip), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in (packet for packet in source.demux() if packet.dts is not None):
            by = round(0.08 / packet.time_base) * (packet.stream.type == "audio")
            packet.dts, packet.pts, packet.stream = packet.dts + by, packet.pts + by, streams[packet.stream_index]
            target.mux(packet)
    worker, part = FaceWorker(visual_settings(), 24), UtteranceMedia(str(clip), 0, 2, sound=(str(clip), 0, 2))
    (_, first_T), (_, second_T) = worker._film(part), worker._film(part)
    np.testing.assert_array_equal(first_T, second_T)


def test_longest_track_keeps_to_one_person_where_a_larger_face_appears_late(tmp_path):
    pictures = people(silent, None, 1.6) + people(silent, silent, 0.8)
    clip = clip_of(tmp_path / "clip.mp4", pictures)
    one, largest_each = chosen(clip, "longest_track"), chosen(clip, "largest")
    assert (len(one.faces), one.tracks, one.choice) == (12, 2, LONGEST_TRACK)
    assert one.size == pytest.approx(share_of(SMALL), rel=0.3)
    assert largest_each.size == pytest.approx((8 * share_of(SMALL) + 4 * share_of(LARGE)) / 12, rel=0.3)


def test_longest_track_ends_at_a_cut(tmp_path):
    """Another shot, another place: the face behind the cut is not taken for the one before it."""
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in people(None, silent, 0.8)]
    clip = clip_of(tmp_path / "clip.mp4", people(silent, None, 1.6) + mirrored)
    found = chosen(clip, "longest_track")
    assert (found.frames, len(found.faces), found.tracks) == (12, 8, 2)
    assert found.size == pytest.approx(share_of(SMALL), rel=0.3)


@pytest.mark.parametrize("face", ["largest", "longest_track", "most_lip_motion"])
def test_nobody_in_the_picture_is_no_face(tmp_path, face):
    clip = clip_of(tmp_path / "clip.mp4", [draw_people()] * 25, speech(1.0))
    found = chosen(clip, face, seconds=1.0)
    assert (found.frames, found.faces.shape, found.size, found.tracks) == (5, (0, 24, 24), 0.0, 0)


@pytest.mark.parametrize("face", ["largest", "longest_track", "most_lip_motion"])
def test_the_region_is_all_that_is_looked_at(talking, face):
    """A split screen as IEMOCAP's: whatever moves in the other half, the face is that of this one."""
    halves = {"left": Region(right=0.5), "right": Region(left=0.5)}
    found = {side: chosen(talking, face, region=region) for side, region in halves.items()}
    assert {side: cuts.tracks for side, cuts in found.items()} == {"left": 1, "right": 1}
    assert found["left"].size == pytest.approx(2 * share_of(SMALL), rel=0.3)  # of half a picture
    assert found["right"].size == pytest.approx(2 * share_of(LARGE), rel=0.3)


def test_lips_are_looked_at_in_the_region(tmp_path):
    """Two faces on the right half of the screen; where their lips are is counted from its corner."""
    pictures = [np.hstack([np.full_like(picture, 90), picture]) for picture in people(mouth_at, chewing)]
    clip = clip_of(tmp_path / "clip.mp4", pictures, speech(SECONDS))
    found = chosen(clip, "most_lip_motion", region=Region(left=0.5))
    assert (found.tracks, found.choice) == (2, MOST_LIP_MOTION)
    assert found.size == pytest.approx(share_of(SMALL), rel=0.3)


@needs_media
@pytest.mark.parametrize("name", ["single_face.mp4", "WolfgangLanger_Pexels.mp4"])
def test_a_real_face_is_one_track_with_every_sampled_frame(name):
    clip = SHARED / "media" / name
    found = chosen(clip, "longest_track", seconds=probe(clip).duration_s)
    assert len(found.faces) == found.frames >= 12


def test_identity_of_the_choice_is_new_for_new_choices_only():
    assert choice_identity("largest") == {}
    assert choice_identity("longest_track") != choice_identity("most_lip_motion")


def test_cut_faces_of_many_utterances_are_those_of_each_alone(tmp_path):
    """Regions and times of each; they overlap, are out of order, and one lies behind the end."""
    scene, _ = draw_scene()
    split_screen = np.hstack([scene, np.full_like(scene, 90)])
    clip = write_clip(tmp_path / "clip.mp4", pictures=[split_screen] * 10 + [np.hstack([scene, scene])] * 10)
    cut_faces = FaceWorker(load_settings(REPOSITORY / "params.yaml").corpus("meld").extract_visual, 24)
    left, right = Region(right=0.5), Region(left=0.5)
    parts = [
        UtteranceMedia(str(clip), *span)
        for span in [(0.9, 2.0, right), (0.0, 1.2, left), (0.3, 0.8, right), (5, 6, left)]
    ]
    together = cut_faces(parts).result
    for part, found in zip(parts, together, strict=True):
        [alone] = cut_faces([part]).result
        assert (found.frames, found.problem, found.tracks) == (alone.frames, alone.problem, alone.tracks)
        np.testing.assert_array_equal(found.faces, alone.faces)
    assert [len(found.faces) for found in together] == [5, 6, 0, 0]


@pytest.mark.parametrize(
    ("settings", "region", "lines"),
    [
        ({}, WHOLE, 660),  # the finder wants 48 pixels of a face of 0.08: 600 lines
        ({"min_face": 0.05}, WHOLE, 1320),
        ({"finder": "whole_frame"}, WHOLE, 165),  # the network 64 lines
        ({}, Region(right=0.9), 1320),  # a part of the picture has fewer
    ],
)
def test_large_pictures_are_decoded_as_small_as_the_smallest_wanted_face_allows(
    tmp_path, monkeypatch, settings, region, lines
):
    """The faces that the network sees are those of whole pictures, but for rounding."""
    scene, _ = draw_scene()
    large = cv2.resize(scene, (1760, 1320), interpolation=cv2.INTER_LINEAR)
    clip = write_clip(tmp_path / "clip.avi", pictures=[large] * 4, picture_codec="mjpeg", pix_fmt="yuvj420p")
    part, seen, seen_in = UtteranceMedia(str(clip), 0.0, 0.4, region), [], speaker_face.within
    monkeypatch.setattr(speaker_face, "within", lambda image, *other: seen.append(image) or seen_in(image, *other))
    cut_faces = FaceWorker(visual_settings(**settings), 48)
    [found] = cut_faces([part]).result
    assert {image.shape[0] for image in seen} == {lines}
    cut_faces._open_picture = cut_faces._open_region
    seen.clear()
    [expected] = cut_faces([part]).result
    assert {image.shape[0] for image in seen} == {1320}
    assert found.frames == expected.frames == len(found.faces) == len(expected.faces) == 2
    assert found.size == pytest.approx(expected.size, rel=0.1)
    assert np.abs(found.faces.astype(int) - expected.faces).mean() < 4


def test_rows_in_regions_and_in_the_whole_picture_open_a_long_file_once_each(talking, monkeypatch):
    opened = []
    monkeypatch.setattr(pictures, "open_media", lambda *file: opened.append(file) or media.open_media(*file))
    cut_faces = FaceWorker(visual_settings(), 24)
    for region in (WHOLE, Region(right=0.5)) * 3:
        cut_faces([UtteranceMedia(str(talking), 1.1, SECONDS, region)])
    assert len(opened) == 2


@pytest.mark.parametrize("face", ["largest", "most_lip_motion"])
def test_a_worker_opens_a_long_file_once_for_pictures_and_sound(talking, monkeypatch, face):
    opened = []
    for module in (pictures, sounds):
        monkeypatch.setattr(module, "open_media", lambda *file, of=module: opened.append(of) or media.open_media(*file))
    cut_faces = FaceWorker(visual_settings(face=face), 24)
    for start_s in (1.1, 1.3, 1.2):
        found = cut_faces(
            [UtteranceMedia(str(talking), start_s, SECONDS, WHOLE, (str(talking), start_s, SECONDS))]
        ).result[0]
        assert found.choice == (MOST_LIP_MOTION if face == "most_lip_motion" else LARGEST)
    assert opened == [pictures]
