"""The stage extract_visual with published encoders: faces, frames, both, and clips, on small films."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoImageProcessor, AutoModel, VideoMAEImageProcessor

from dferc.core.errors import InputError
from dferc.engine import HERE, WorkerDied
from pipeline.bundle.command import bundle
from pipeline.check import check_corpora, verify_encoder
from pipeline.extract_visual import make_extractor
from pipeline.extraction.scratch import Scratch
from pipeline.faces.finder import cut, make_finder
from pipeline.faces.pooling import Sight, clips, pooled
from pipeline.faces.scaling import shrink_picture
from pipeline.faces.speaker_face import SpeakerFaces
from pipeline.media.pictures import PictureFile, Span
from pipeline.settings import ExtractVisual, load_settings
from pipeline.video.recogniser import Recogniser
from tests.helpers.clips import SHARED, write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.corpora import make_row
from tests.helpers.drawn_faces import draw_scene
from tests.helpers.picture_encoders import CLIP, SIDE, WIDTH, write_picture_encoder
from tests.helpers.small_models import write_model

CPU = torch.device("cpu")
YUNET = SHARED / "media/face_detection_yunet_2026may.onnx"
FRAMES = 12  # of a film, of which every second one is sampled


def settings(encoder="ferplus", **changes) -> ExtractVisual:
    values = load_settings(REPOSITORY / "params.yaml").corpus("meld").extract_visual.model_dump()
    usual = {"finder": "haar", "frames_per_s": 6.0, "encoder": str(encoder)}
    return ExtractVisual.model_validate(values | usual | changes)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_picture_encoder(root / "vit")
    write_picture_encoder(root / "videomae", video=True)
    return root


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Films of a second: a face in red and blue light, and red light alone."""
    raw = tmp_path_factory.mktemp("raw")
    scene = draw_scene("joy")[0].astype(np.float32)
    films = [[scene * (0.8 + 0.015 * step), scene, scene * (0.6 + 0.01 * step)] for step in range(FRAMES)]
    film = [np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8) for channels in films]
    write_clip(raw / "face.mp4", pictures=film, frames_per_s=FRAMES)
    red = np.zeros((120, 160, 3), np.uint8)
    red[..., 0] = 200
    write_clip(raw / "red.mp4", pictures=[red] * FRAMES, frames_per_s=FRAMES)
    return raw


@pytest.fixture(scope="module")
def frames(raw):
    return [image for *_, image in PictureFile(raw / "face.mp4", colour=True).sample([Span(0.0, 1.0)], 6.0, 50)]


@pytest.fixture(scope="module")
def faces(frames):
    (boxes,) = zip(*(make_finder("haar", 0.08).find(frame[..., 1].copy()) for frame in frames), strict=True)
    return [cut(frame, box, 0.1, SIDE, colour=True) for frame, box in zip(frames, boxes, strict=True)]


@pytest.fixture
def records(raw, tmp_path):
    """Extract both films, with an encoder and settings; return the extractor and the records in order."""

    def extracted(encoder, **changes):
        rows = [make_row("face", "face.mp4", 1.0), make_row("red", "red.mp4", 1.0)]
        with Scratch(tmp_path / "scratch.sqlite") as scratch:
            extractor = make_extractor(rows, settings(encoder, **changes), tmp_path, raw, scratch, CPU, HERE)
            made = dict(extractor.compute([0, 1]))
        for record in made.values():
            assert "features" not in record.arrays or record.arrays["features"].shape == (extractor.width,)
        return extractor, [made[0], made[1]]

    return extracted


def states(folder, shown) -> torch.Tensor:
    model = AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        return model(**AutoImageProcessor.from_pretrained(folder)(shown, return_tensors="pt"))


def test_colours_are_those_of_the_film(raw):
    (picture, *_) = [image for *_, image in PictureFile(raw / "red.mp4", colour=True).sample([Span(0, 1)], 6.0, 50)]
    assert np.abs(picture.mean(axis=(0, 1)) - [200, 0, 0]).max() < 12


def test_faces_are_pooled_over_the_frames(records, models, faces):
    extractor, (face, red) = records(models / "vit", pooling="mean_std")
    expected = states(models / "vit", faces).pooler_output.numpy()
    found = face.arrays["features"]
    assert len(found) == 2 * WIDTH and face.arrays["face_share"] == 1
    np.testing.assert_allclose(found[:WIDTH], expected.mean(axis=0), atol=1e-2)  # the finder sees another grey
    np.testing.assert_allclose(found[WIDTH:], expected.std(axis=0), atol=1e-2)
    assert "features" not in red.arrays and red.problem.startswith("no face: none in 6 sampled frame(s)")
    assert extractor.identity["extractor"].startswith("transformers ") and extractor.identity["model"]
    assert extractor.identity["params"]["encoder"] == str(models / "vit") and "view" not in extractor.identity["params"]


def test_frames_need_no_face(records, models, frames):
    extractor, (face, red) = records(models / "vit", view="frame", tokens="first", layer="1", finder="nowhere.onnx")
    processor, model = (kind.from_pretrained(models / "vit") for kind in (AutoImageProcessor, AutoModel))
    shown = processor([shrink_picture(frame, SIDE) for frame in frames], return_tensors="pt")
    with torch.inference_mode():
        expected = model(**shown, output_hidden_states=True).hidden_states[1][:, 0].mean(dim=0)
    np.testing.assert_allclose(face.arrays["features"], expected, atol=1e-5)
    assert red.arrays["features"].any() and extractor.identity["finder"] == {}


def test_both_are_face_then_frame_and_absent_without_a_face(records, models):
    _, (face, red) = records(models / "vit", view="both")
    alone = [records(models / "vit", view=view)[1][0].arrays["features"] for view in ("face", "frame")]
    np.testing.assert_array_equal(face.arrays["features"], np.concatenate(alone))
    assert "features" not in red.arrays


def test_a_video_encoder_sees_the_frames_in_clips(records, models, frames):
    """Six frames are two clips of three, each of which fills four places."""
    _, (face, _) = records(models / "videomae", view="frame", tokens="mean")
    shown = [shrink_picture(frame, SIDE) for frame in frames]
    chosen = [[shown[index] for index in part] for part in ((0, 1, 1, 2), (3, 4, 4, 5))]
    processor, model = VideoMAEImageProcessor.from_pretrained(models / "videomae"), models / "videomae"
    with torch.inference_mode():
        output = AutoModel.from_pretrained(model)(**processor(chosen, return_tensors="pt"))
    expected = output.last_hidden_state.mean(dim=1).mean(dim=0)
    np.testing.assert_allclose(face.arrays["features"], expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_clips_cover_the_frames_in_order(count):
    made = clips([np.full((1, 1, 3), number) for number in range(count)], CLIP)
    shown = [int(picture[0, 0, 0]) for clip in made for picture in clip]
    assert all(len(clip) == CLIP for clip in made) and len(made) == -(-count // CLIP)
    assert sorted(set(shown)) == list(range(count)) and shown == sorted(shown)


def test_clips_of_a_worker_that_died_give_up_their_utterance_alone():
    cuts = [(n, SpeakerFaces(9, np.full((9, 2, 2, 3), n, np.uint8))) for n in range(3)]

    def network(batches):
        for index, batch in enumerate(batches):
            yield index, WorkerDied(3) if batch and batch[0].max() == 1 else np.ones((len(batch), WIDTH), np.float32)

    results = dict(pooled(cuts, network, Sight(clip=32)))
    assert results[1] == WorkerDied(3) and all(results[n].arrays["features"].shape == (WIDTH,) for n in (0, 2))


def test_mean_and_deviation_over_the_frames():
    vectors = [np.array([0.0, 4.0]), np.array([6.0, 4.0])]
    assert Sight(pooling="mean_std").pooled(vectors, [2]).tolist() == [3, 4, 3, 0]


def test_ferplus_has_settings_of_its_own_alone():
    assert settings(pooling="mean_std").pooling == "mean_std"
    with pytest.raises(ValueError, match="set view: face, layer: last, or another encoder"):
        settings(view="both", layer="3")
    assert settings(runtime="openvino").runtime == "openvino" and settings("resnet50", runtime="auto").runtime == "auto"
    with pytest.raises(
        ValueError, match="runtime openvino is of the encoder ferplus, and resnet50 .*: set runtime: auto"
    ):
        settings("resnet50", runtime="openvino")


def test_check_names_what_can_be_no_encoder():
    for known in ("ferplus", "facebook/dinov2-base", "timm:resnet18", "torchvision:resnet50", "."):
        verify_encoder(known)
    block = load_settings(REPOSITORY / "params.yaml").corpus("demo")
    changed = block.model_copy(update={"extract_visual": settings("resnet50", finder="haar")})
    message = "demo.extract_visual.encoder: 'resnet50' is neither ferplus nor a folder, a hub name such as"
    with pytest.raises(InputError, match=re.escape(message)):
        check_corpora({"demo": changed})


def test_model_with_an_encoder_of_pictures_gives_its_vectors_and_carries_it(raw, tmp_path):
    encoder = write_picture_encoder(tmp_path / "encoder")
    run = write_model(tmp_path, seeds=(0,), variants=("v",), visual=settings(encoder, view="frame"))
    packed = CliRunner().invoke(bundle, [str(run), "--out", str(tmp_path / "a.dferc")])
    assert packed.exit_code == 0, packed.output
    encoder.rename(tmp_path / "moved")
    (raw / "red.srt").write_text("1\n00:00:00,000 --> 00:00:00,900\nHello.\n")
    with Recogniser.load(tmp_path / "a.dferc", device="cpu", cache=tmp_path / "cache") as recogniser:
        emotions = recogniser(raw / "red.mp4")
    assert emotions.utterances[0].emotion and not emotions.utterances[0].absent
    assert any(line.startswith("visual: weights of the encoder") for line in emotions.model.licences)
    write_picture_encoder(encoder, seed=1)
    refused = CliRunner().invoke(bundle, [str(run), "--out", str(tmp_path / "b.dferc")])
    assert refused.exit_code == 1 and "the visual encoder" in refused.stderr and "is another one" in refused.stderr


@pytest.mark.skipif(not YUNET.exists(), reason=f"no {YUNET}")
def test_a_finder_that_is_not_used_is_none_of_the_features(models, records):
    """A path among the settings could not be bundled, nor found on another machine."""
    known = [records(models / "vit", view="frame", finder=finder)[0].identity for finder in ("haar", str(YUNET))]
    assert known[0] == known[1]


def test_a_picture_that_changes_its_size_is_cut_into_clips_of_one_size():
    """A call or a stream changes its resolution, here within an utterance."""
    wide, high = ([np.full((*size, 3), number, np.uint8) for number in range(3)] for size in ((4, 6), (6, 4)))
    assert [clip.shape for clip in clips([*wide, *high], 2)] == [(2, 4, 6, 3)] * 2 + [(2, 6, 4, 3)] * 2
    assert [clip[:, 0, 0, 0].tolist() for clip in clips([*wide, *high], 2)] == [[0, 1], [2, 2]] * 2
