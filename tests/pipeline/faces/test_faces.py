import re

import av
import cv2
import numpy as np
import pytest

from dferc.core.errors import InputError
from pipeline.faces.finder import Box, Haar, WholeFrame, YuNet, cut, finder_identity, largest, make_finder, within
from pipeline.faces.scaling import scale_face
from pipeline.rows.utterances import Region
from pipeline.settings import load_settings
from tests.helpers.clips import SHARED, needs_media
from tests.helpers.common import REPOSITORY
from tests.helpers.drawn_faces import draw_scene

MIN_FACE = load_settings(REPOSITORY / "params.yaml").corpus("meld").extract_visual.min_face
WHOLE = Region()


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
    with pytest.raises(InputError, match=re.escape("no file nowhere.onnx. Expected haar, whole_frame")):
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


def test_yunet_takes_the_faces_that_are_large_enough(monkeypatch, tmp_path):
    """15 columns: box, five landmarks, score. Of shorter side 100, min_face 0.2 wants 20 pixels."""

    class Detector:
        def setInputSize(self, size):
            self.size = size

        def detect(self, image):
            assert image.shape == (100, 160, 3) and self.size == (160, 100)
            return 2, self.found

    detector = Detector()
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: detector)
    (tmp_path / "net.onnx").touch()
    finder = YuNet(tmp_path / "net.onnx", 0.2)
    detector.found = np.array([[1, 2, 19, 18] + [0] * 11, [3.4, 4, 25, 30] + [0] * 11], np.float32)
    assert finder.find(np.zeros((100, 160), np.uint8)) == [Box(3, 4, 25, 30)]
    detector.found = detector.found[:1]
    assert finder.find(np.zeros((100, 160), np.uint8)) == []
    detector.found = None
    assert finder.find(np.zeros((100, 160), np.uint8)) == []


def test_yunet_sees_a_reduced_picture_and_tells_of_the_full_one(monkeypatch, tmp_path):
    """Shorter side 1000, smallest face 100 pixels: as 24 of 240; a box there is 100/24 times as large here."""

    class Detector:
        def setInputSize(self, size):
            self.size = size

        def detect(self, image):
            assert image.shape == (240, 384, 3) and self.size == (384, 240)
            return 1, np.array([[24, 48, 30, 36] + [0] * 11, [0, 0, 20, 20] + [0] * 11], np.float32)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Detector())
    (tmp_path / "net.onnx").touch()
    assert YuNet(tmp_path / "net.onnx", 0.1).find(np.zeros((1000, 1600), np.uint8)) == [Box(100, 200, 125, 150)]


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
