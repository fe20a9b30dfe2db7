import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dferc.core.errors import InputError
from dferc.core.tables import write_table
from dferc.engine import WorkerDied, Workers
from dferc.store.hdf5 import read_features, write_utterances
from pipeline import extract_visual
from pipeline.extract_visual import main, make_extractor
from pipeline.extraction.loop import extract
from pipeline.extraction.places import Places
from pipeline.extraction.scratch import Scratch
from pipeline.faces.densenet import FoldedFaceNet, load_face_net
from pipeline.faces.pooling import BATCH, face_vectors, pooled
from pipeline.faces.speaker_face import SpeakerFaces
from pipeline.rows.utterances import Region, Utterance
from pipeline.train_face import leave_untrained
from tests.helpers.clips import SHARED, needs_media, tone, truncate, write_clip
from tests.helpers.common import REPOSITORY, make_utterances
from tests.helpers.corpora import make_row
from tests.helpers.drawn_faces import draw_scene
from tests.helpers.face_models import offline_hub, visual_settings, write_untrained

SIZE = 16
CPU = torch.device("cpu")
BLANK = np.full((120, 160), 90, np.uint8)
YUNET = SHARED / "media/face_detection_yunet_2026may.onnx"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_untrained(tmp_path_factory.mktemp("model"), SIZE)


@pytest.fixture
def net(model) -> FoldedFaceNet:
    return FoldedFaceNet(load_face_net(model / "face.safetensors"))


@pytest.fixture
def raw(tmp_path) -> Path:
    """Clips of 1 s: faces, no face, faces in the first half, a broken file, faces again."""
    raw = tmp_path / "raw"
    raw.mkdir()
    scenes = [draw_scene(emotion)[0] for emotion in ("joy", "anger")]
    write_clip(raw / "0.mp4", pictures=[scenes[0]] * 10)
    write_clip(raw / "1.mp4", pictures=[BLANK] * 10)
    write_clip(raw / "2.mp4", pictures=[scenes[1]] * 5 + [BLANK] * 5)
    truncate(write_clip(raw / "3.mp4", pictures=[scenes[0]] * 10), 0.3)
    write_clip(raw / "4.mp4", pictures=scenes * 5)
    return raw


def corpus(tmp_path: Path, clips: list[str]) -> tuple[list[Utterance], Places]:
    """One dialogue, an utterance per clip, and the files that prepare writes; an empty name has no picture."""
    utterances = make_utterances(dialogues={"train": 6})  # the last dialogue has six utterances
    keep = np.arange(len(utterances) - 6, len(utterances) - 6 + len(clips))
    columns = {
        name: value[keep] if isinstance(value, np.ndarray) else value for name, value in vars(utterances).items()
    }
    columns |= {"start_s": np.zeros(len(clips)), "end_s": np.array([float(bool(clip)) for clip in clips])}
    utterances = type(utterances)(**columns | {"text": np.full(len(clips), "hello", dtype=object)})
    rows = [
        Utterance(
            utterance_id=utterances.utterance_id[index],
            dialogue_id=utterances.dialogue_id[index],
            position=index,
            speaker="Ann",
            emotion="",
            split="train",
            text="hello",
            media=clip,
            end_s=1.0 if clip else 0.0,
            has_video=bool(clip),
        )
        for index, clip in enumerate(clips)
    ]
    files = {"table": "utterances.csv", "utterances": "utterances.h5", "out": "visual.h5"}
    files |= {"problems": "problems.csv", "log": "log.json"}
    paths = {name: tmp_path / file for name, file in files.items()}
    write_utterances(paths["utterances"], utterances)
    write_table(paths["table"], rows, Utterance)
    places = Places(
        corpus="demo",
        set=None,
        params=REPOSITORY / "params.yaml",
        raw=tmp_path / "raw",
        scratch=tmp_path / "scratch.sqlite",
        **paths,
    )
    return rows, places


def extract_all(rows, places, model, workers=0, **changes):
    with Scratch(places.scratch) as scratch:
        extractor = make_extractor(rows, visual_settings(**changes), model, places.raw, scratch, CPU, Workers(workers))
        return extract(rows, extractor, places, scratch)


CLIPS = ["0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"]


def test_another_runtime_computes_again_within_its_tolerance_and_is_named(tmp_path, raw, model):
    pytest.importorskip("openvino")
    rows, places = corpus(tmp_path, CLIPS[:2])
    made = {}
    for runtime in ("pytorch", "openvino"):
        assert extract_all(rows, places, model, runtime=runtime).done == 1
        made[runtime] = read_features(places.out, "visual")
    before, now = (made[name].features[0] for name in made)
    assert not np.array_equal(before, now) and np.abs(before - now).max() < 1e-5 * before.max()
    assert "runtime" not in made["pytorch"].identity and made["openvino"].identity["runtime"] == "openvino"
    assert all("runtime" not in each.identity["params"] for each in made.values())


def test_extraction_averages_faces_and_tells_what_was_found(tmp_path, raw, model):
    rows, places = corpus(tmp_path, [*CLIPS, ""])
    tally = extract_all(rows, places, model)
    made = read_features(places.out, "visual")
    assert made.present.tolist() == [True, False, True, False, True, False]
    assert made.width == 342 and made.features[made.present].any(axis=1).all()
    assert made.quality["face_share"][[0, 1, 4]].tolist() == [1, 0, 1]
    assert 0.3 < made.quality["face_share"][2] < 0.7
    assert made.quality["frames"].tolist() == [5, 5, 5, 0, 5, 0]
    assert made.quality["tracks"].tolist() == [1, 0, 1, 0, 1, 0]
    assert made.quality["choice"].tolist() == [0] * 6
    assert (made.quality["face_size"] > 0.2).tolist() == made.present.tolist() and made.quality["face_size"].max() < 0.6
    assert (tally.done, tally.failed, tally.absent) == (3, 2, 1)
    with open(places.problems, newline="") as file:
        problems = {row["file"]: row for row in csv.DictReader(file)}
    assert set(problems) == {"0.mp4", "1.mp4", "3.mp4", "4.mp4"}  # of the last, every second frame is sampled
    assert problems["0.mp4"]["problem"] == "picture does not change: 5 equal samples"
    assert problems["1.mp4"]["problem"].startswith("no face: none in 5 sampled frame(s); picture does not change")
    absent = {file for file, row in problems.items() if row["consequence"] == "visual not present"}
    assert absent == {"1.mp4", "3.mp4"}


def test_extraction_after_a_kill_gives_the_same_bytes(tmp_path, raw, model):
    """Whatever was finished before, and in which order: the rest is batched otherwise."""
    rows, places = corpus(tmp_path, CLIPS)
    extract_all(rows, places, model)
    whole = places.out.read_bytes()
    for finished in ([2], [4, 0], [0, 1, 2, 3, 4]):
        places.scratch.unlink()
        part, part_places = corpus(tmp_path / f"part{len(finished)}", [CLIPS[index] for index in finished])
        part_places = Places(**{**vars(part_places), "raw": raw, "scratch": places.scratch})
        extract_all(part, part_places, model)
        tally = extract_all(rows, places, model)
        assert tally.reused == len([index for index in finished if index not in (1, 3)])
        assert places.out.read_bytes() == whole


def test_extraction_in_worker_processes_gives_the_same_bytes(tmp_path, raw, model):
    rows, places = corpus(tmp_path, CLIPS)
    extract_all(rows, places, model)
    alone = places.out.read_bytes()
    places.scratch.unlink()
    extract_all(rows, places, model, workers=2)
    assert places.out.read_bytes() == alone


def test_extraction_with_other_settings_is_not_answered_from_the_cache(tmp_path, raw, model):
    rows, places = corpus(tmp_path, CLIPS)
    extract_all(rows, places, model)
    before = read_features(places.out, "visual")
    assert extract_all(rows, places, model, margin=0.3).reused == 0
    after = read_features(places.out, "visual")
    assert after.identity != before.identity and not np.array_equal(after.features, before.features)


def test_extraction_of_one_face_is_the_same_by_any_choice_of_it(tmp_path, raw, model):
    """The file says how it was chosen; of `largest`, as all files were made, the identity says nothing."""
    rows, places = corpus(tmp_path, CLIPS[:3])
    made = {}
    for face in ("largest", "longest_track", "most_lip_motion"):
        extract_all(rows, places, model, face=face)
        made[face] = read_features(places.out, "visual")
        assert np.array_equal(made[face].features, made["largest"].features)
    assert made["longest_track"].quality["choice"].tolist() == [1, 1, 1]
    assert "face" not in made["largest"].identity and "face" not in made["largest"].identity["params"]
    assert made["longest_track"].identity["face"] == {"choice": "longest_track", "version": 4}


def test_extraction_by_lips_depends_on_the_sound(tmp_path, raw, model):
    """Content of an utterance: its picture, and its sound only where that has a say."""
    rows, places = corpus(tmp_path, ["0.mp4", "4.mp4"])
    for name, hz in (("one", 200.0), ("other", 300.0)):
        write_clip(raw / f"{name}.wav", sound=tone(1.0, hz=hz))
    heard = [replace(rows[0], sound=f"{name}.wav", sound_end_s=1.0, has_audio=True) for name in ("one", "other")]
    with Scratch(places.scratch) as scratch:
        largest, lips = (
            make_extractor(rows, visual_settings(face=face), model, raw, scratch, CPU, Workers(0)).content
            for face in ("largest", "most_lip_motion")
        )
        assert largest(heard[0]) == largest(heard[1]) == lips(rows[0])
        assert lips(heard[0]) != lips(heard[1])


def test_whole_frame_takes_every_frame(tmp_path, raw, model):
    rows, places = corpus(tmp_path, CLIPS[:3])
    extract_all(rows, places, model, finder="whole_frame")
    made = read_features(places.out, "visual")
    assert made.present.all() and (made.quality["face_share"] == 1).all()


def test_without_the_model_of_yunet_the_features_are_those_of_haar(tmp_path, raw, model, monkeypatch, capsys):
    offline_hub(tmp_path / "hub", monkeypatch)
    rows, places = corpus(tmp_path, CLIPS[:2])
    extract_all(rows, places, model, finder="yunet")
    assert "haar is used instead" in " ".join(capsys.readouterr().err.split())
    made = places.out.read_bytes()
    assert extract_all(rows, places, model, finder="haar").done == 0, "all was kept"
    assert places.out.read_bytes() == made


@needs_media
def test_features_name_yunet_by_its_content_wherever_it_lies(tmp_path, model, monkeypatch):
    published = offline_hub(tmp_path / "hub", monkeypatch)
    published.parent.mkdir(parents=True)
    shutil.copy(YUNET, published)
    (tmp_path / "raw").mkdir()
    shutil.copy(SHARED / "media/single_face.mp4", tmp_path / "raw")
    rows, places = corpus(tmp_path, ["single_face.mp4"])
    made = []
    for finder in ("yunet", str(YUNET)):
        extract_all(rows, places, model, finder=finder)
        made.append(read_features(places.out, "visual"))
    assert made[0].identity["params"]["finder"] == "yunet" and made[0].quality["face_share"] == [1.0]
    assert made[0].identity["finder"] == made[1].identity["finder"] and "yunet" in made[0].identity["finder"]
    assert np.array_equal(made[0].features, made[1].features)


def through(net):
    """Wrap the network of this process for `pooled`."""
    return lambda batches: ((index, face_vectors(net, batch)) for index, batch in enumerate(batches))


def random_faces(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)


def test_a_vector_does_not_depend_on_the_rest_of_its_batch(net):
    faces = random_faces(BATCH, 1)
    together = face_vectors(net, faces)
    for index in (0, 7, BATCH - 1):
        assert np.array_equal(face_vectors(net, faces[[index]])[0], together[index])
    assert np.array_equal(face_vectors(net, faces[::-1])[::-1], together)


def test_pooled_is_the_mean_of_each_utterance_in_any_order_and_batching(net, model):
    """Lengths that straddle batches; the reference runs the network on each utterance alone."""
    cuts = [SpeakerFaces(2 * count, random_faces(count, count)) for count in (1, BATCH - 2, 5, 2 * BATCH + 3, BATCH, 2)]
    records, eager = dict(pooled(enumerate(cuts), through(net))), load_face_net(model / "face.safetensors")
    with torch.inference_mode():
        alone = [eager(torch.from_numpy(cut.faces)).features.double().mean(dim=0).float().numpy() for cut in cuts]
    for number, expected in enumerate(alone):
        np.testing.assert_allclose(records[number].arrays["features"], expected, rtol=1e-4, atol=1e-5)
        assert records[number].arrays["face_share"] == 0.5
    backwards = dict(pooled(reversed(list(enumerate(cuts))), through(net)))
    assert all(np.array_equal(records[n].arrays["features"], backwards[n].arrays["features"]) for n in range(len(cuts)))


def test_equal_faces_of_an_utterance_go_through_the_network_once(net):
    one, other = random_faces(2, 1)
    seen = []

    def network(batches):
        return through(net)(seen.append(len(batch)) or batch for batch in batches)

    [(_, record)] = pooled([(0, SpeakerFaces(4, np.stack([one, other, one, one])))], network)
    assert sum(seen) == 2
    vectors = face_vectors(net, np.stack([one, other]))
    expected = np.mean(vectors[[0, 1, 0, 0]], axis=0, dtype=np.float64).astype(np.float32)
    assert np.array_equal(record.arrays["features"], expected) and record.arrays["face_share"] == 1


def test_pooled_passes_on_what_has_no_faces(net):
    nothing = np.zeros((0, SIZE, SIZE), np.uint8)
    cuts = [(3, WorkerDied(3)), (1, SpeakerFaces(4, nothing)), (2, SpeakerFaces(0, nothing, "unreadable"))]
    results = dict(pooled(cuts, through(net)))
    assert results[3] == WorkerDied(3)
    assert results[1].problem == "no face: none in 4 sampled frame(s)" and "features" not in results[1].arrays
    assert results[2].problem == "unreadable" and results[2].arrays["face_share"] == 0


def test_pooled_hands_on_what_has_no_face_before_the_next_is_asked_for(net):
    taken = []
    cuts = ((taken.append(n) or n, SpeakerFaces(1, np.zeros((0, SIZE, SIZE), np.uint8))) for n in range(9))
    next(pooled(cuts, through(net)))
    assert taken == [0]


def test_pooled_gives_the_same_bits_whatever_comes_back_first(net):
    def backwards(batches):
        return reversed(list(through(net)(batches)))

    cuts = [(n, SpeakerFaces(50, random_faces(BATCH + 9, n))) for n in range(3)]
    straight, reverse = dict(pooled(cuts, through(net))), dict(pooled(cuts, backwards))
    assert all(np.array_equal(straight[n].arrays["features"], reverse[n].arrays["features"]) for n in range(3))


def test_pooled_gives_up_whose_faces_were_in_a_batch_that_kills(net):
    def network(batches):
        return ((index, WorkerDied(3) if index == 1 else face_vectors(net, b)) for index, b in enumerate(batches))

    cuts = [
        (0, SpeakerFaces(9, random_faces(4, 0))),
        (1, SpeakerFaces(40, random_faces(BATCH, 1))),
        (2, SpeakerFaces(40, random_faces(BATCH, 2))),
    ]
    results = dict(pooled(cuts, network))
    assert results[1] == results[2] == WorkerDied(3) and results[0].arrays["features"].any()


def test_pooled_keeps_values_that_are_not_finite_out(net):
    net.std = torch.tensor(0.0)
    (_, record) = next(pooled([(0, SpeakerFaces(1, random_faces(1, 0)))], through(net)))
    assert record.problem.startswith("values not finite") and "features" not in record.arrays


def test_no_face_model_on_purpose_makes_the_modality_absent(tmp_path, raw):
    leave_untrained(tmp_path / "model", "none", "not wanted")
    rows, places = corpus(tmp_path, CLIPS)
    tally = extract_all(rows, places, tmp_path / "model")
    made = read_features(places.out, "visual")
    assert not made.present.any() and made.features.shape == (5, 342) and tally.absent == 5


def test_no_face_model_for_want_of_files_stops_only_where_there_are_pictures(tmp_path, raw):
    leave_untrained(tmp_path / "model", "ferplus", "fer2013.csv not found")
    rows, places = corpus(tmp_path, ["", "0.mp4"])
    message = f"(fer2013.csv not found), but 1 of 2 utterances have a picture, first {rows[1].utterance_id} (0.mp4)"
    with pytest.raises(InputError, match=re.escape(message)):
        extract_all(rows, places, tmp_path / "model")
    rows, places = corpus(tmp_path, ["", ""])
    assert extract_all(rows, places, tmp_path / "model").absent == 2
    assert not read_features(places.out, "visual").present.any()


def test_the_command_runs_and_refuses_a_missing_model(tmp_path, raw, model):
    rows, places = corpus(tmp_path, CLIPS[:2])
    paths = {name: getattr(places, name) for name in ("raw", "table", "utterances", "out", "problems", "scratch")}
    options = [f"--{name}={path}" for name, path in paths.items()]
    options += ["--corpus=demo", f"--params={places.params}", "--device=cpu", "--workers=0"]
    tally = main([*options, f"--face={model}"], standalone_mode=False)
    assert (tally.done, tally.failed) == (1, 1)
    with pytest.raises(SystemExit) as caught:
        main([*options, f"--face={tmp_path / 'nowhere'}"], standalone_mode=False)
    assert caught.value.code == 1


def test_another_decoder_is_asked_for_by_name_and_told_in_the_file(tmp_path, raw, model):
    rows, places = corpus(tmp_path, CLIPS[:1])
    with Scratch(places.scratch) as scratch:
        made = [
            make_extractor(rows, visual_settings(), model, places.raw, scratch, CPU, Workers(0), hwaccel)
            for hwaccel in (None, "nonsense")
        ]
        assert made[1].identity["decoder"] == f"{made[0].identity['decoder']}, nonsense"
        with pytest.raises(InputError, match="--hwaccel nonsense: no such device decodes here"):
            list(made[1].compute([0]))


@needs_media
def test_real_clips_show_a_face_in_every_frame_or_none(tmp_path, model):
    (tmp_path / "raw").symlink_to(SHARED / "media")
    rows, places = corpus(tmp_path, ["single_face.mp4", "WolfgangLanger_Pexels.mp4", "no_face.mp4"])
    extract_all(rows, places, model)
    made = read_features(places.out, "visual")
    assert made.quality["face_share"].tolist() == [1, 1, 0] and made.present.tolist() == [True, True, False]


def test_utterances_of_one_file_are_given_out_together():
    rows = [make_row(str(number), file) for number, file in enumerate("aaab" + "c" * 18 + "a")]
    groups = list(extract_visual._groups(rows, [0, 2, 3, *range(4, 22), 22]))
    assert groups == [[0, 2], [3], [*range(4, 12)], [*range(12, 20)], [20, 21], [22]]
    rows[5:7] = [replace(row, region=Region(left=right)) for row, right in zip(rows[5:7], (0.5, 0.2))]
    assert list(extract_visual._groups(rows, [4, 5, 6, 7, 8])) == [[4], [5, 6], [7, 8]]


def test_a_group_that_kills_its_worker_is_tried_one_by_one():
    """5 kills its worker, alone and in company."""
    asked = []

    def cut(groups, hears):
        assert not hears
        asked.append(groups)
        for number, group in enumerate(groups):
            yield number, WorkerDied(3) if 5 in group else [f"faces of {row}" for row in group]

    found = dict(extract_visual._one_by_one(cut, [[1, 2], [4, 5, 6], [7]], False))
    assert found == {1: "faces of 1", 2: "faces of 2", 4: "faces of 4", 5: WorkerDied(3)} | {
        row: f"faces of {row}" for row in (6, 7)
    }
    assert asked == [[[1, 2], [4, 5, 6], [7]], [[4], [5], [6]]]


def test_a_sound_that_kills_its_worker_does_not_cost_the_picture():
    """5 kills whoever hears it, 6 whoever sees it."""

    def cut(groups, hears):
        for number, group in enumerate(groups):
            died = (hears and 5 in group) or 6 in group
            yield number, WorkerDied(3) if died else [f"faces of {row}" for row in group]

    found = dict(extract_visual._one_by_one(cut, [[4], [5], [6]], True))
    assert found == {4: "faces of 4", 5: "faces of 5", 6: WorkerDied(3)}
