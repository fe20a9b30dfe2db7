import re
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from dferc.core.errors import InputError
from pipeline.encoders.hub import fetch
from pipeline.faces.finder import (
    YUNET_FILE,
    Box,
    Follower,
    Haar,
    WholeFrame,
    YuNet,
    cut,
    finder_identity,
    largest,
    locate_finder,
    make_finder,
    within,
)
from pipeline.faces.scaling import scale_face
from pipeline.rows.utterances import Region
from pipeline.settings import load_settings
from tests.helpers.clips import SHARED, needs_media
from tests.helpers.common import REPOSITORY
from tests.helpers.drawn_faces import draw_scene
from tests.helpers.face_models import offline_hub

MIN_FACE = load_settings(REPOSITORY / "params.yaml").corpus("meld").extract_visual.min_face
WHOLE = Region()
SHARED_YUNET = SHARED / "media/face_detection_yunet_2026may.onnx"


def sampled(name: str, count: int = 8) -> list[np.ndarray]:
    with av.open(str(SHARED / "media" / name)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return frames[:: max(1, len(frames) // count)]


@needs_media
@pytest.mark.parametrize("name", ["single_face.mp4", "WolfgangLanger_Pexels.mp4"])
def test_haar_finds_the_face_of_every_real_frame(name):
    finder = Haar(MIN_FACE)
    assert all(finder.find(image) for image in sampled(name))


@needs_media
def test_haar_finds_no_face_where_there_is_none():
    finder = Haar(MIN_FACE)
    assert not any(finder.find(image) for image in sampled("no_face.mp4"))


def test_haar_frames_a_drawn_face_in_grey_and_in_colour():
    picture, centre = draw_scene()
    for image in (picture, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)):
        (box,) = Haar(0.3).find(image)
        assert abs(box.x + box.width / 2 - centre[0]) < 12 and abs(box.y + box.height / 2 - centre[1]) < 12
        assert box.width == box.height


def test_haar_finds_nothing_in_a_blank_or_tiny_picture():
    assert Haar(0.1).find(np.full((120, 160), 90, np.uint8)) == []
    assert Haar(0.1).find(np.zeros((3, 3), np.uint8)) == []


def test_haar_overlooks_faces_below_the_smallest():
    picture, _ = draw_scene()
    small = np.full((480, 640), 120, np.uint8)
    small[180:300, 240:400] = picture
    assert len(Haar(0.08).find(small)) == 1
    assert Haar(0.5).find(small) == []


def test_largest_takes_the_biggest_area_and_the_first_of_equals():
    assert largest([Box(0, 0, 10, 10), Box(5, 5, 20, 8), Box(9, 9, 8, 20)]) == Box(5, 5, 20, 8)
    assert largest([]) is None


def test_whole_frame_is_the_picture():
    assert WholeFrame().find(np.zeros((30, 50), np.uint8)) == [Box(0, 0, 50, 30)]


def test_make_finder_knows_names_and_refuses_other_files(tmp_path):
    assert isinstance(make_finder("haar", 0.1), Haar) and isinstance(make_finder("whole_frame", 0.1), WholeFrame)
    with pytest.raises(InputError, match=re.escape("no file nowhere.onnx. Expected yunet, haar, whole_frame")):
        make_finder("nowhere.onnx", 0.1)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(InputError, match="is not a YuNet .onnx that OpenCV reads"):
        make_finder(str(broken), 0.1)


def field(number: int, value: int | bytes | str) -> bytes:
    """Encode a short field of a protobuf message, as ONNX files are."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    value = value.encode() if isinstance(value, str) else value
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def test_network_that_is_no_yunet_is_refused_before_a_run(tmp_path):
    dims = b"".join(field(1, field(1, size)) for size in (1, 3, 8, 8))
    tensor = field(2, field(1, field(1, 1) + field(2, dims)))
    node = field(1, "x") + field(2, "y") + field(4, "Relu")
    graph = field(1, node) + field(2, "g") + field(11, field(1, "x") + tensor) + field(12, field(1, "y") + tensor)
    (tmp_path / "relu.onnx").write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 13)))
    with pytest.raises(InputError, match=r"relu\.onnx .*no.* YuNet"):
        make_finder(str(tmp_path / "relu.onnx"), 0.1)


# ---------------------------------------------------------------------------------------------------- YuNet


class Detector:
    """Stand-in for cv2.FaceDetectorYN that notes the pictures it gets; faces [x, y, width, height] of each in turn."""

    def __init__(self, *found):
        self.found, self.seen, self.created = list(found), [], []

    def create(self, path, config, size, score):
        def detect(image):
            assert image.shape == (*size[::-1], 3)
            return self.detect(image)

        self.created.append(size)
        return SimpleNamespace(detect=detect)

    def detect(self, image):
        self.seen.append(image.shape[1::-1])
        faces = self.found.pop(0)
        return len(faces), np.array([[*face] + [0] * 11 for face in faces], np.float32) if faces else None


@pytest.fixture
def yunet(monkeypatch, tmp_path):
    """Return a function that makes a YuNet with a stand-in for the detector."""

    def make(min_face, *found):
        detector = Detector(*found)
        monkeypatch.setattr(cv2.FaceDetectorYN, "create", detector.create)
        (tmp_path / "net.onnx").touch()
        return YuNet(tmp_path / "net.onnx", min_face), detector

    return make


def test_yunet_takes_the_faces_that_are_large_enough(yunet):
    """15 columns: box, five landmarks, score. Of shorter side 100, min_face 0.2 wants 20 pixels."""
    small, large = (1, 2, 19, 18), (3.4, 4, 25, 30)
    finder, detector = yunet(0.2, [small, large], [small], [])
    assert [finder.find(np.zeros((100, 160), np.uint8)) for _ in range(3)] == [[Box(3, 4, 25, 30)], [], []]
    assert detector.seen == [(160, 100)] * 3


def test_yunet_s_boxes_out_of_all_bounds_are_no_faces(yunet):
    """It gives them for pictures of some 32 x 1920 pixels, now and then: what the memory held before."""
    odd = [(7e23, -np.inf, 0, np.inf), (-5e23, -2e23, 0, 0), (1e30, 4, 20, 20), (0, 0, 1e9, 20), (np.nan, 0, 20, 20)]
    finder, _ = yunet(0.2, [*odd, (3, 4, 25, 30)])
    assert finder.find(np.zeros((32, 1920), np.uint8)) == [Box(3, 4, 25, 30)]


def test_yunet_sees_a_reduced_picture_and_reports_places_in_the_full_one(yunet):
    """Shorter side 1000, smallest face 100: as 32 of 320, by 1600/1000 512 wide; for a sure face of 300, 48 of 160."""
    finder, detector = yunet(0.1, [(32, 64, 40, 48), (0, 0, 30, 30)], [(16, 32, 40, 48)])
    picture = np.zeros((1000, 1600), np.uint8)
    assert finder.find(picture) == [Box(100, 200, 125, 150)]
    assert finder.find(picture, sure=0.3) == [Box(100, 200, 250, 300)]
    assert detector.seen == [(512, 320), (256, 160)]


def test_yunet_keeps_the_detectors_of_the_last_sizes(yunet):
    """A change of a detector's size takes as long as a search of a reduced picture."""
    finder, detector = yunet(0.1, *[[]] * 9)
    sizes = [(64, side) for side in (32, 40, 48, 56)]
    for size in [sizes[0], sizes[1], sizes[0], *sizes[1:], (64, 64), sizes[1], sizes[0]]:
        finder.find(np.zeros(size[::-1], np.uint8))
    assert detector.created == [(320, 320), *sizes, (64, 64), sizes[0]], "the size used longest ago was forgotten"


def follow(yunet, only_largest, *steps):
    """Follow faces over frames of 800x1000; return the shorter sides of what was searched and the faces, by frame.

    Each step: time, whether a shot begins, and the faces of each search as shares of the shorter side.
    """
    frames = []
    finder, detector = yunet(0.1)
    follower = Follower(finder, only_largest)
    find = detector.detect

    def scaled(image):
        assert detector.found, "more searches than expected"
        detector.found[0] = [(0, 0, *[share * min(image.shape[:2])] * 2) for share in detector.found[0]]
        return find(image)

    detector.detect = scaled
    for time_s, new_shot, searches in steps:
        detector.found[:] = searches
        boxes = follower.find(time_s, np.zeros((800, 1000), np.uint8), new_shot)
        assert not detector.found, "fewer searches than expected"
        frames.append(([min(size) for size in detector.seen], [round(box.width / 800, 2) for box in boxes]))
        detector.seen.clear()
    return frames


WHOLE_PX, LARGE_PX = 333, 179
"""Shorter side of a picture of 800x1000 that shows a face of 0.1 with 32 pixels, and one of 0.3 with 48: the longer one
is 416 and 224, multiples of 32."""


def test_largest_face_is_followed_in_small_pictures_and_sought_in_the_whole_where_it_is_lost(yunet):
    frames = follow(
        yunet,
        True,
        (0.0, False, [[0.4]]),  # a large face is found at once
        (0.2, False, [[0.4]]),
        (0.4, False, [[], [0.15]]),  # lost: all sizes; a smaller one is there
        (0.6, False, [[0.15]]),
        (0.8, False, [[], []]),  # lost again
        (1.0, False, [[]]),  # all sizes have been searched 0.2 s ago
        (1.9, False, [[], [0.12]]),  # but not for 1 s
        (2.0, True, [[], [0.12]]),  # a new shot: nothing is known
    )
    searched = [sides for sides, _ in frames]
    assert [faces for _, faces in frames] == [[0.4], [0.4], [0.15], [0.15], [], [], [0.12], [0.12]]
    assert searched[0] == [LARGE_PX] and searched[1] < [LARGE_PX], "a face of 0.4 is sought at 0.32"
    assert searched[2][1:] == searched[4][1:] == searched[6][1:] == [WHOLE_PX]
    assert searched[7] == [LARGE_PX, WHOLE_PX]


def test_all_faces_are_sought_in_the_whole_range_of_sizes_once_a_second(yunet):
    frames = follow(
        yunet,
        False,
        (0.0, False, [[0.5, 0.4], [0.5, 0.4]]),  # the second search: as in the next frames
        (0.2, False, [[0.5, 0.4]]),
        (0.4, False, [[0.5], [0.5, 0.4], [0.5, 0.4]]),  # one is lost
        (1.2, False, [[0.5, 0.4]]),
        (1.5, False, [[0.5, 0.4, 0.12]]),  # a small one has come, and is seen now
        (1.6, False, [[0.5, 0.4, 0.12]]),
    )
    assert [len(faces) for _, faces in frames] == [2, 2, 2, 2, 3, 3]
    assert [sides[0] == WHOLE_PX for sides, _ in frames] == [True, False, False, False, True, True]
    assert frames[2][0][1] == WHOLE_PX


def test_other_finders_search_every_frame_alike():
    picture, _ = draw_scene()
    follower = Follower(Haar(0.3), only_largest=True)
    assert follower.find(0.0, picture, False) == follower.find(0.2, picture, False) == Haar(0.3).find(picture) != []


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union."""
    ends = np.minimum(*(np.array(box[:2]) + box[2:] for box in (one, other)))
    width, height = np.clip(ends - np.maximum(one[:2], other[:2]), 0, None)
    return width * height / (one.area + other.area - width * height)


@needs_media
@pytest.mark.parametrize(("name", "share"), [("single_face.mp4", 1.0), ("face_noface.mov", 0.3), ("no_face.mp4", 0)])
def test_yunet_finds_in_small_pictures_the_faces_that_haar_finds(name, share):
    """As many frames with a face; and boxes within 0.6 of those of a search of the whole, on average 0.85 (IoU)."""
    finder, cascade, frames = YuNet(SHARED_YUNET, MIN_FACE), Haar(MIN_FACE), sampled(name, 10)
    follower = Follower(finder, only_largest=True)
    followed = [largest(follower.find(number / 5, frame, False)) for number, frame in enumerate(frames)]
    whole = [largest(finder.find(frame)) for frame in frames]
    assert [box is None for box in followed] == [box is None for box in whole]
    assert sum(box is not None for box in followed) >= sum(bool(cascade.find(frame)) for frame in frames)
    assert np.mean([box is not None for box in followed]) >= share
    overlaps = [overlap(one, other) for one, other in zip(followed, whole, strict=True) if one is not None]
    assert not overlaps or (min(overlaps) > 0.6 and np.mean(overlaps) > 0.85)


# ---------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return offline_hub(tmp_path / "hub", monkeypatch)


def test_yunet_is_taken_from_the_cache_of_the_hub(hub, capsys):
    hub.parent.mkdir(parents=True)
    hub.write_bytes(b"net")
    assert locate_finder("yunet") == str(hub)
    assert not capsys.readouterr().err


def test_where_yunet_is_not_to_be_had_haar_is_used_with_a_warning(hub, capsys):
    assert locate_finder("yunet") == "haar"
    warning = " ".join(capsys.readouterr().err.split())
    for part in (
        "extract_visual.finder",
        YUNET_FILE[0],
        "HF_HUB_OFFLINE",
        "haar is used instead",
        "hf download",
        "set the path",
    ):
        assert part in warning
    assert isinstance(make_finder("yunet", 0.1), Haar)


def test_hub_without_a_network_is_named_and_asked_once(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port that discards
    with pytest.raises(InputError, match=r"127\.0\.0\.1 does not answer"):
        fetch(*YUNET_FILE)


def test_finder_identity_changes_with_the_model_file(tmp_path):
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    identities = [finder_identity(name) for name in ("haar", "whole_frame", str(one), str(two))]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])


def test_cut_widens_to_a_square_around_the_centre():
    """A 4x8 box at (10, 10) becomes 8x8 at (8, 10); a margin of 1/4 makes it 12x12 at (6, 8)."""
    image = np.arange(40 * 40).reshape(40, 40) % 251
    image = image.astype(np.uint8)
    assert np.array_equal(cut(image, Box(10, 10, 4, 8), 0.0, 8), image[10:18, 8:16])
    assert np.array_equal(cut(image, Box(10, 10, 4, 8), 0.25, 12), image[8:20, 6:18])


def test_cut_repeats_the_edge_beyond_the_picture():
    image = np.array([[1, 2], [3, 4]], np.uint8)
    expected = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]], np.uint8)
    assert np.array_equal(cut(image, Box(0, 0, 2, 2), 0.5, 4), expected)
    assert cut(image, Box(-50, -50, 3, 3), 0.0, 4).tolist() == [[1] * 4] * 4


def test_cut_averages_where_it_shrinks_and_greys_colour():
    image = np.array([[0, 100], [200, 100]], np.uint8)
    assert cut(image, Box(0, 0, 2, 2), 0.0, 1).tolist() == [[100]]
    colour = np.full((4, 4, 3), 77, np.uint8)
    assert cut(colour, Box(0, 0, 4, 4), 0.0, 16).tolist() == [[77] * 16] * 16


def test_within_is_the_region_rounded_to_pixels():
    """IEMOCAP's 720x480: the useful 256x256 of the right half, x 52 to 308 of 360 and y 112 to 368."""
    image = np.arange(480 * 720, dtype=np.int32).reshape(480, 720)
    region = Region(0.5 + 0.1444 / 2, 0.2333, 0.5 + 0.8556 / 2, 0.7667)

    assert np.array_equal(within(image, region), image[112:368, 412:668])
    assert np.array_equal(within(image, WHOLE), image)
    assert within(np.zeros((4, 4, 3)), Region(1.0, 1.0, 1.0, 1.0)).shape == (1, 1, 3)


def test_scale_face_averages_when_it_shrinks():
    assert scale_face(np.array([[0, 40], [80, 120]], np.uint8), 1).tolist() == [[60]]
    assert scale_face(np.full((3, 3), 9, np.uint8), 8).tolist() == [[9] * 8] * 8
