"""The synthetic demo corpus: what is planted is there to be found, what is awkward is there, and a seed is a corpus."""

import csv
import hashlib
import io
import re
from collections import Counter

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from dferc.core.errors import InputError
from dferc.store.vocabulary import SPLITS
from pipeline import make_demo
from pipeline.corpora import demo
from pipeline.demo import clip, face, face_set, plan, voice, words
from pipeline.demo.drawing import draw_face
from tests.helpers.corpora import prepare_settings

FER2013NEW_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.fixture(scope="module")
def rows():
    return plan.plan_corpus(0)


@pytest.fixture(scope="module")
def awkward(rows):
    return {row.awkward: row for row in rows if row.awkward}


@pytest.fixture(scope="module")
def raw(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    make_demo.write_tables(folder, 0, rows)
    return folder


# ---------------------------------------------------------------------------------------------------- the plan


def test_plan_follows_from_the_seed(rows):
    assert plan.plan_corpus(0) == rows
    assert plan.plan_corpus(1) != rows


def test_plan_has_the_promised_size_and_every_class_in_every_split(rows):
    assert len({row.dialogue for row in rows}) == 60
    assert 480 <= len(rows) <= 520
    assert len({row.utterance_id for row in rows}) == len(rows)
    assert sum(row.split == "test" for row in rows) >= 115
    counts = Counter((row.split, row.emotion) for row in rows if row.labelled)
    assert min(counts[split, emotion] for split in SPLITS for emotion in plan.CLASSES) >= plan.MIN_PER_CLASS
    speakers = Counter(dialogue for dialogue, _ in {(row.dialogue, row.speaker) for row in rows})
    assert max(speakers.values()) <= 4


def test_emotions_keep_with_the_declared_inertia():
    chains = [plan._draw_emotions(np.random.default_rng(seed), 200) for seed in range(20)]
    kept = np.mean([before == after for chain in chains for before, after in zip(chain, chain[1:], strict=False)])
    assert kept == pytest.approx(plan.INERTIA, abs=0.03)  # 4000 draws: a standard error of 0.007


def test_high_reliability_shows_the_truth_and_low_often_does_not():
    rng = np.random.default_rng(0)
    drawn = [plan._plant(rng, "joy", lost=False) for _ in range(4000)]
    right = {
        level: np.mean([p.shown == "joy" for p in drawn if p.reliability == level]) for level in (0.1, 0.3, 0.6, 1.0)
    }
    assert right[0.6] == right[1.0] == 1.0
    assert right[0.1] == pytest.approx(0.3 + 0.7 / 6, abs=0.06)
    assert right[0.3] == pytest.approx(0.3 + 0.7 / 2, abs=0.06)


def test_awkward_tables_point_at_utterances_that_exist(rows):
    places = {(row.dialogue, row.index): row for row in rows}
    assert {place for place, row in places.items() if row.awkward} == set(plan.AWKWARD_CLIPS)
    assert {place for place, row in places.items() if not row.labelled} == set(plan.UNLABELLED)
    assert [row.index for row in rows if row.dialogue == plan.SINGLE_UTTERANCE_DIALOGUE] == [0]
    assert not {dialogue for dialogue, _ in plan.AWKWARD_CLIPS} & {plan.SINGLE_UTTERANCE_DIALOGUE}
    for (dialogue, index), skipped in plan.GAPS.items():
        assert places[dialogue, index].position - places[dialogue, index - 1].position == 1 + skipped


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_seed_has_room_for_the_awkward(seed):
    test_awkward_tables_point_at_utterances_that_exist(plan.plan_corpus(seed))


def test_a_lost_signal_is_planted_as_worthless(awkward):
    nothing = plan.Planted(reliability=0.0, shown="")
    assert awkward[plan.NO_SOUND].planted[1] == nothing
    assert awkward[plan.NO_SOUND].planted[2] != nothing
    assert awkward[plan.CORRUPT].planted[1:] == (nothing, nothing)


# ---------------------------------------------------------------------------------------------------- the signals


def test_text_has_cues_as_far_as_it_is_reliable():
    rng = np.random.default_rng(0)

    def counts(reliability):
        texts = [words.write_text(rng, "fear", reliability) for _ in range(200)]
        return np.array(
            [[sum(part in text for part in kind) for kind in (words.CUES["fear"], words.VAGUE)] for text in texts]
        )

    assert (counts(1.0) == [words.CLAUSES, 0]).all()
    assert (counts(0.0) == [0, words.CLAUSES]).all()
    assert counts(0.5).mean(axis=0) == pytest.approx([1, 1], abs=0.2)


def test_no_cue_belongs_to_two_emotions():
    clauses = [clause for emotion in plan.CLASSES for clause in words.CUES[emotion]] + list(words.VAGUE)
    assert len(set(clauses)) == len(clauses)


def voices(emotion, reliability, count=12):
    return [voice.speak(np.random.default_rng(seed), 140.0, emotion, reliability) for seed in range(count)]


def loudest_pitch_hz(sound_T):
    """Peak of the autocorrelation between 60 and 450 Hz over the loudest fifth of a second."""
    width = voice.RATE_HZ // 5
    start = np.convolve(sound_T**2, np.ones(width), "valid").argmax()
    part = sound_T[start : start + width]
    correlation = np.correlate(part, part, "full")[width - 1 :]
    low, high = voice.RATE_HZ // 450, voice.RATE_HZ // 60
    return voice.RATE_HZ / (low + correlation[low:high].argmax())


def test_voice_is_sound_of_the_promised_length():
    for sound_T in [*voices("sadness", 1.0), *voices("anger", 1.0), *voices("neutral", 0.0)]:
        assert sound_T.dtype == np.float32
        assert 0.6 <= len(sound_T) / voice.RATE_HZ <= 2.1
        assert np.abs(sound_T).max() < 1


def test_voice_differs_by_emotion_where_it_is_reliable():
    pitch = {emotion: np.median([loudest_pitch_hz(v) for v in voices(emotion, 1.0)]) for emotion in ("fear", "sadness")}
    assert pitch["fear"] > 1.3 * pitch["sadness"]
    level = {emotion: np.mean([v.std() for v in voices(emotion, 1.0)]) for emotion in ("anger", "sadness")}
    assert level["anger"] > 3 * level["sadness"]
    length = {emotion: np.mean([len(v) for v in voices(emotion, 1.0)]) for emotion in ("fear", "sadness")}
    assert length["sadness"] > 1.5 * length["fear"]


def test_unreliable_voice_can_be_heard_to_be_noisy():
    def noise_share(sound_T):
        quiet = sound_T[: int(0.9 * voice.EDGE_S * voice.RATE_HZ)]  # before the first syllable: the room alone
        return quiet.std() / sound_T.std()

    shares = [np.mean([noise_share(v) for v in voices("joy", level)]) for level in (1.0, 0.5, 0.0)]
    assert shares[0] < 0.03 < shares[1] < 0.12 < shares[2]


def sample_pictures():
    """Pictures of every speaker with every emotion, clear, middling and poor, and the poses they were drawn in."""
    rng = np.random.default_rng(0)
    for speaker in range(len(plan.CAST)):
        look = face.draw_look(plan.generator(0, clip._LOOK_KEY, speaker))
        for emotion in plan.CLASSES:
            reliability = float(rng.choice(plan.RELIABILITIES))
            pose = clip.random_pose(rng)
            picture = draw_face(face.draw_scene(rng), look, face.show(rng, emotion, reliability), pose)
            yield face.spoil(rng, picture, reliability), pose


def test_cascade_finds_drawn_faces_where_the_face_set_cuts_them():
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    overlaps = []
    for picture, pose in sample_pictures():
        found = cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 5, minSize=(24, 24))
        overlaps.append(max((_overlap(box, face.face_square(pose, margin=0.0)) for box in found), default=0.0))
    assert np.mean(np.array(overlaps) > 0.6) >= 0.95
    assert np.mean(overlaps) > 0.85


def _overlap(one, other):
    """Intersection over union of two (x, y, width, height) boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def test_cascade_finds_nothing_in_an_empty_scene(rows, awkward):
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    for picture in clip.make_frames(0, awkward[plan.NO_FACE], duration_s=1.0):
        assert len(cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 5)) == 0


def test_unreliable_face_can_be_seen_to_be_faint():
    def sharpness(reliability):
        rng, pose = np.random.default_rng(3), face.Pose()
        expression = face.show(rng, "surprise", reliability)
        picture = draw_face(face.draw_scene(rng), face.draw_look(rng), expression, pose)
        spoiled = cv2.GaussianBlur(face.spoil(rng, picture, reliability), (0, 0), 1.5)  # noise out of the way
        return cv2.Laplacian(spoiled, cv2.CV_64F).std()

    assert sharpness(1.0) > 1.5 * sharpness(0.5) > 1.8 * sharpness(0.1)


# ---------------------------------------------------------------------------------------------------- the clips


def streams(content):
    """Decode pictures and sound samples of an mp4."""
    with av.open(io.BytesIO(content)) as container:
        pictures, samples = [], 0
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                pictures.append(frame.to_ndarray(format="bgr24"))
            else:
                samples += frame.samples
    return pictures, samples


def test_clip_holds_its_pictures_and_its_sound(rows):
    row = rows[0]
    pictures, samples = streams(clip.make_clip(0, row))
    sound_T = clip.make_sound(0, row)
    drawn = clip.make_frames(0, row, len(sound_T) / voice.RATE_HZ)
    assert len(pictures) == len(drawn) == round(len(sound_T) / voice.RATE_HZ * clip.FPS)
    assert samples == pytest.approx(len(sound_T), abs=1024)  # AAC works in blocks of 1024
    assert np.abs(pictures[0].astype(float) - drawn[0]).mean() < 8


def test_clip_is_the_same_each_time(rows):
    assert clip.make_clip(0, rows[3]) == clip.make_clip(0, rows[3])
    assert clip.make_clip(0, rows[3]) != clip.make_clip(1, rows[3])


def test_awkward_clips_are_as_declared(awkward):
    assert set(awkward) == set(plan.LOST)
    made = {name: clip.make_clip(0, row) for name, row in awkward.items()}
    assert made[plan.MISSING] is None
    with pytest.raises(av.error.InvalidDataError):
        streams(made[plan.CORRUPT])
    pictures, samples = streams(made[plan.NO_SOUND])
    assert pictures and not samples
    pictures, samples = streams(made[plan.NO_PICTURE])
    assert samples and not pictures
    pictures, samples = streams(made[plan.NO_FACE])
    assert pictures and samples
    pictures, samples = streams(made[plan.TINY])
    assert len(pictures) == 1
    assert 0 < samples <= 1024  # 800 of them sound, the rest the codec's block
    with av.open(io.BytesIO(made[plan.TINY])) as container:
        assert container.duration / av.time_base == pytest.approx(0.05, abs=0.02)


# ---------------------------------------------------------------------------------------------------- the face set


def test_face_set_has_ferplus_votes_over_all_emotions():
    images = [face_set.make_image(0, number, "Training") for number in range(240)]
    assert all(image.pixels.shape == (48, 48) and image.pixels.dtype == np.uint8 for image in images)
    votes = np.array([image.votes for image in images])
    assert (votes.sum(axis=1) == face_set.ANNOTATORS).all()
    winners = Counter(face_set.VOTES[winner] for winner in votes.argmax(axis=1))
    assert min(winners[name] for name in face_set.VOTES[:8]) >= 15
    assert winners["unknown"] and winners["NF"]
    agreeing = np.mean([votes[row].argmax() == row % 8 for row in range(240)])
    assert agreeing > 0.8


def test_face_tables_are_in_the_published_format(tmp_path):
    images = [face_set.make_image(0, number, "PublicTest") for number in range(80)]
    make_demo.write_faces(tmp_path, images)
    votes = (tmp_path / "fer2013new.csv").read_text().splitlines()
    assert votes[0] == FER2013NEW_HEADER
    assert len(votes) == 81
    for number, line in enumerate(votes[1:]):
        name = "" if line.endswith(",10") else f"fer{number:07d}.png"
        assert line.startswith(f"PublicTest,{name},")
    with open(tmp_path / "fer2013.csv", newline="") as file:
        pixels = list(csv.DictReader(file))
    assert list(pixels[0]) == ["emotion", "pixels", "Usage"]
    assert np.array_equal(np.array(pixels[5]["pixels"].split(), np.uint8).reshape(48, 48), images[5].pixels)
    assert [row["emotion"] for row in pixels[:8]] == ["6", "3", "5", "4", "0", "1", "2", "6"]


# ---------------------------------------------------------------------------------------------------- the stage


def run_short(monkeypatch, tmp_path, name, *options):
    """Run the stage on fourteen utterances and ten faces; return the hash of each file it made."""
    monkeypatch.setattr(make_demo, "plan_corpus", lambda seed: plan.plan_corpus(seed)[:14])
    monkeypatch.setattr(make_demo, "SIZES", {"Training": 8, "PublicTest": 1, "PrivateTest": 1})
    out, faces = tmp_path / name / "raw", tmp_path / name / "faces"
    result = CliRunner().invoke(
        make_demo.main, ["--out", str(out), "--faces", str(faces), *options], catch_exceptions=False
    )
    assert result.exit_code == 0
    files = sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())
    return {str(file.relative_to(tmp_path / name)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(monkeypatch, tmp_path):
    alone = run_short(monkeypatch, tmp_path, "alone", "--workers", "1")
    assert len(alone) == 14 + 3 + 3
    assert run_short(monkeypatch, tmp_path, "together", "--workers", "2") == alone
    other = run_short(monkeypatch, tmp_path, "other", "--workers", "1", "--seed", "1")
    assert not set(alone.values()) & set(other.values()) - {alone["faces/README.txt"]}


def test_rerun_leaves_no_clip_of_another_seed(monkeypatch, tmp_path):
    stale, foreign = tmp_path / "a/raw/clips/d59_u99.mp4", tmp_path / "a/raw/clips/holiday.mp4"
    stale.parent.mkdir(parents=True)
    stale.touch()
    foreign.touch()
    run_short(monkeypatch, tmp_path, "a", "--workers", "1")
    assert not stale.exists()
    assert foreign.exists()


def test_corpus_is_called_synthetic(raw):
    assert "SYNTHETIC" in (raw / "README.txt").read_text()
    assert demo.read(raw, prepare_settings("demo")).protocol.startswith("synthetic")


def test_planted_table_says_what_was_planted(raw, rows):
    with open(raw / "planted.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["utterance_id"] for line in table] == [row.utterance_id for row in rows]
    for line, row in zip(table, rows, strict=True):
        assert float(line["audio_reliability"]) == row.planted[1].reliability
        assert line["visual_shown"] == row.planted[2].shown


# ---------------------------------------------------------------------------------------------------- the adapter


def test_adapter_reads_every_planned_utterance(raw, rows):
    read = demo.read(raw, prepare_settings("demo"))
    assert read.classes == plan.CLASSES
    assert [row.utterance_id for row in read.utterances] == [row.utterance_id for row in rows]
    assert [row.media for row in read.utterances] == [row.clip for row in rows]
    assert [row.position for row in read.utterances] == [row.position for row in rows]
    assert any(not row.text.isascii() for row in read.utterances)
    unlabelled = [row.utterance_id for row in read.utterances if not row.emotion]
    assert unlabelled == [problem.where for problem in read.problems] == ["d23_u01", "d52_u02"]


def test_adapter_names_the_command_where_the_corpus_is_not_there(tmp_path):
    with pytest.raises(InputError, match=re.escape("python -m pipeline.make_demo")):
        demo.read(tmp_path, prepare_settings("demo"))


@pytest.mark.parametrize(
    ("found", "put", "says"),
    [
        ("speaker,emotion", "speaker,mood", "'mood'"),
        (",neutral,", ",bored,", "line 2, d00_u00: emotion 'bored', expected neutral, joy"),
        (",train,", ",training,", "line 2, d00_u00: split 'training', expected train, validation, test"),
        ("d00,0,", "d00,first,", "invalid literal for int() with base 10: 'first'"),
    ],
)
def test_adapter_says_what_is_wrong_in_the_transcripts(raw, tmp_path, found, put, says):
    text = (raw / "transcripts.csv").read_text(encoding="utf-8")
    (tmp_path / "transcripts.csv").write_text(text.replace(found, put, 1), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(says)):
        demo.read(tmp_path, prepare_settings("demo"))


def test_adapter_refuses_a_table_without_rows(raw, tmp_path):
    header = (raw / "transcripts.csv").read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "transcripts.csv").write_text(header + "\n")
    with pytest.raises(InputError, match="has no utterances"):
        demo.read(tmp_path, prepare_settings("demo"))
