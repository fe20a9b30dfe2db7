"""Files that know utterances by id: MELD's own pickles, MMSA's, vectors by id in any format; labels from elsewhere."""

import json
import pickle
from collections import defaultdict

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from dferc.cli.main import main
from dferc.store.hdf5 import read_corpus, read_utterances, write_utterances
from tests.helpers.common import make_utterances
from tests.helpers.feature_files import dump_python2

CLASSES = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
NUMBERS = (0, 1, 3)  # utterances of each dialogue: MELD's numbers have gaps


def run(*arguments: object):
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def imported(folder, *arguments: object):
    result = run(*arguments, f"--features={folder.parent}")
    assert result.exit_code == 0, result.output
    return read_corpus(folder)


def refused(tmp_path, *arguments: object) -> str:
    result = run(*arguments, f"--features={tmp_path / 'features'}")
    assert result.exit_code == 1 and result.stderr.startswith("error:"), result.output
    assert not list(tmp_path.glob("features/*/*"))
    return " ".join(result.stderr.split())


def rows_of_meld() -> dict[str, list[tuple[int, int, str]]]:
    """Return (dialogue, utterance, emotion) by MELD's names of the splits."""
    rows = [(dialogue, number) for dialogue in range(3) for number in NUMBERS]
    return {
        split: [(d, n, CLASSES[(7 * d + n + place) % 7]) for d, n in rows]
        for place, split in enumerate(("train", "dev", "test"))
    }


@pytest.fixture
def transcripts(tmp_path):
    folder = tmp_path / "meld"
    folder.mkdir()
    for split, rows in rows_of_meld().items():
        lines = [f"1,line {d} {n},Ross,{emotion},x,{d},{n}" for d, n, emotion in rows]
        (folder / f"{split}_sent_emo.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return folder


def meld_vectors(width: int, pattern: str = "{}_{}") -> list[dict[str, np.ndarray]]:
    """Return MELD's [train, dev, test]: the value of a vector shows where it belongs."""
    return [
        {pattern.format(d, n): np.full(width, 100 * place + 10 * d + n + 1, "f4") for d, n, _ in rows}
        for place, rows in enumerate(rows_of_meld().values())
    ]


EXPECTED = np.array([100 * place + 10 * d + n + 1 for place in range(3) for d in range(3) for n in NUMBERS])


@pytest.mark.parametrize("dump", [pickle.dumps, dump_python2])
@pytest.mark.parametrize("form", ["list", "dict", "dia_utt"])
def test_melds_own_features_get_the_labels_of_the_transcripts_by_id(tmp_path, transcripts, form, dump):
    content = meld_vectors(1611, "dia{}_utt{}" if form == "dia_utt" else "{}_{}")
    for part in content:  # in another order than the transcripts
        part.update({key: part.pop(key) for key in sorted(part, reverse=True)})
    content = dict(zip(("train", "val", "test"), content)) if form == "dict" else content
    (tmp_path / "any.bin").write_bytes(dump(content))

    corpus = imported(tmp_path / "out/meld", tmp_path / "any.bin", f"--transcripts={transcripts}")

    audio = corpus.modalities["audio"]  # by its width
    assert audio.present.all() and audio.features[:, 0].tolist() == EXPECTED.tolist()
    assert corpus.utterances.utterance_id[:3].tolist() == ["train_dia0_utt0", "train_dia0_utt1", "train_dia0_utt3"]
    labels = [CLASSES.index(emotion) for rows in rows_of_meld().values() for *_, emotion in rows]
    assert corpus.utterances.emotion.tolist() == labels


def test_numbers_of_the_transcripts_are_kept_beside_a_table_that_counts_from_one(tmp_path, transcripts):
    rows = [(split, *row) for split, of_split in rows_of_meld().items() for row in of_split]
    split, dialogue, number, emotion = map(np.array, zip(*rows, strict=True))
    table = {"dialogue": dialogue, "utterance": number + 1, "emotion": emotion, "split": split}
    np.savez(tmp_path / "text.npz", text=EXPECTED[:, None] * np.ones(3), **table)
    vectors = zip(("train", "dev", "test"), meld_vectors(4, "dia{}_utt{}"), strict=True)
    np.savez(tmp_path / "audio.npz", **{f"{name}_{key}": part[key] for name, part in vectors for key in part})
    files = (tmp_path / "text.npz", "--audio", tmp_path / "audio.npz", f"--transcripts={transcripts}")
    corpus = imported(tmp_path / "out/meld", *files, "--corpus=meld")
    assert corpus.utterances.utterance_id[:3].tolist() == ["train_dia0_utt0", "train_dia0_utt1", "train_dia0_utt3"]
    assert corpus.utterances.text[:2].tolist() == ["line 0 0", "line 0 1"]
    for modality in ("text", "audio"):
        assert corpus.modalities[modality].features[:, 0].tolist() == EXPECTED.tolist()
    assert "utterances counted from another number than in meld" in (tmp_path / "out/meld/problems.csv").read_text()


def test_transcripts_of_dialogues_that_are_named_otherwise_are_refused(tmp_path, transcripts):
    rows = [(split, *row) for split, of_split in rows_of_meld().items() for row in of_split]
    split, dialogue, number, emotion = map(np.array, zip(*rows, strict=True))
    names = np.array([f"{name}{one}" for name, one in zip(split, dialogue, strict=True)])
    table = {"text": EXPECTED[:, None] * np.ones(3), "utterance": number, "emotion": emotion, "split": split}
    np.savez(tmp_path / "text.npz", dialogue=names, **table)
    message = refused(tmp_path, tmp_path / "text.npz", "--corpus=meld", f"--transcripts={transcripts}")
    assert "none of its dialogues (train_0, … (9 in all)) is in" in message and "(train0, … (9 in all))" in message
    rows = imported(tmp_path / "out/meld", tmp_path / "text.npz", "--corpus=meld").utterances
    assert rows.utterance_id[0] == "train0_0"


def test_lists_of_splits_in_another_order_are_refused(tmp_path, transcripts):
    train, dev, test = meld_vectors(20)
    dev.popitem(), test.pop("0_0")  # other numbers, as in the real splits
    (tmp_path / "audio.pkl").write_bytes(pickle.dumps([train, {f"{k}9": v for k, v in test.items()}, dev]))
    message = refused(tmp_path, tmp_path / "audio.pkl", f"--transcripts={transcripts}")
    assert "its splits are not in the order train, dev, test" in message


def test_a_part_of_the_utterances_by_id_is_joined_and_listed(tmp_path):
    """As features of all turns of three sessions for the labelled ones of four."""
    rows = make_utterances()
    write_utterances(tmp_path / "out/demo/utterances.h5", rows)
    ids = [*rows.utterance_id[: len(rows) * 3 // 4], *(f"unlabelled-{n}" for n in range(len(rows) // 3))]
    (tmp_path / "audio.pkl").write_bytes(pickle.dumps({name: np.ones(7, "f4") for name in ids}))
    corpus = imported(tmp_path / "out/demo", "--corpus=demo", "--audio", tmp_path / "audio.pkl")
    assert corpus.modalities["audio"].present.sum() == len(rows) * 3 // 4


def test_transcripts_are_found_as_prepare_finds_them(tmp_path, transcripts):
    (tmp_path / "audio.pkl").write_bytes(pickle.dumps(meld_vectors(1611)))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/MELD.Raw").symlink_to(transcripts)
    (transcripts / "up").symlink_to(tmp_path / "linked")
    (transcripts / "dev_sent_emo.csv").rename(transcripts / "DEV_sent_emo.CSV")
    corpus = imported(tmp_path / "out/meld", tmp_path / "audio.pkl", f"--transcripts={tmp_path / 'linked'}")
    assert len(corpus.utterances) == 27
    (transcripts / "edited").mkdir()
    edited = (transcripts / "train_sent_emo.csv").read_text().replace("line", "LINE")
    (transcripts / "edited/train_sent_emo.csv").write_text(edited)
    message = refused(tmp_path, tmp_path / "audio.pkl", f"--transcripts={transcripts}")
    assert "2 files train_sent_emo.csv that differ" in message


def test_melds_text_and_audio_are_joined_with_data_emotion(tmp_path):
    (tmp_path / "text_glove_average_emotion.pkl").write_bytes(pickle.dumps(meld_vectors(300)))
    (tmp_path / "audio_embeddings_feature_selection_emotion.pkl").write_bytes(pickle.dumps(meld_vectors(1611)))
    (tmp_path / "data_emotion.p").write_bytes(pickle.dumps(meld_data()))

    corpus = imported(tmp_path / "out/meld", *sorted(tmp_path.glob("*.p*")))

    for modality, width in {"text": 300, "audio": 1611}.items():
        assert corpus.modalities[modality].width == width
        assert corpus.modalities[modality].features[:, 0].tolist() == EXPECTED.tolist()
    assert corpus.utterances.text[0] == "line 0 0" and corpus.utterances.split[-1] == "test"


def meld_data() -> list:
    rows = [
        {"text": f"line {d} {n}", "split": split, "y": emotion, "dialog": str(d), "utterance": str(n), "num_words": 3}
        for split, part in zip(("train", "val", "test"), rows_of_meld().values())
        for d, n, emotion in reversed(part)
    ]
    vocabulary = defaultdict(float, line=1.0)
    return [rows, np.zeros((3, 300)), {"line": 1}, vocabulary, 5, {"neutral": 0, "joy": 1}]


def test_padded_dialogues_lose_their_padding(tmp_path):
    padded = []
    for part in meld_vectors(600):
        matrices = defaultdict(lambda: np.zeros((33, 600), "f4"))
        for key, vector in part.items():
            dialogue, number = key.split("_")
            matrices[dialogue][NUMBERS.index(int(number))] = vector
        padded.append(dict(matrices))
    (tmp_path / "text_emotion.pkl").write_bytes(pickle.dumps(padded))
    (tmp_path / "data_emotion.p").write_bytes(pickle.dumps(meld_data()))

    corpus = imported(tmp_path / "out/meld", tmp_path / "text_emotion.pkl", tmp_path / "data_emotion.p")

    assert corpus.modalities["text"].features[:, 0].tolist() == EXPECTED.tolist()


def test_features_without_labels_say_what_they_are_and_what_lacks(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(meld_vectors(1611)))
    message = refused(tmp_path, tmp_path / "a.pkl")
    assert "MELD's own features" in message and "audio 1611 wide of 27, such as train_dia0_utt0" in message
    assert "none has labels and splits" in message and "--transcripts" in message


MELD_FAULTS = {
    "text": (lambda parts: parts[1].__setitem__("0_1", "no"), "under validation, '0_1' is a str; expected a vector"),
    "width": (lambda parts: parts[2].__setitem__("0_1", np.ones(7, "f4")), "0_1: 7 values, expected 5 as in 0_0"),
    "twice": (lambda parts: parts[0].__setitem__("dia0_utt1", np.ones(5, "f4")), "train_dia0_utt1 is there twice"),
}


@pytest.mark.parametrize("fault", MELD_FAULTS)
def test_faulty_meld_features_are_refused_with_their_place(tmp_path, transcripts, fault):
    change, expected = MELD_FAULTS[fault]
    parts = meld_vectors(5)
    change(parts)
    (tmp_path / "text_x.pkl").write_bytes(pickle.dumps(parts))
    assert expected in refused(tmp_path, tmp_path / "text_x.pkl", f"--transcripts={transcripts}")


def test_utterances_that_lack_are_absent_and_listed_and_values_that_are_not_finite_too(tmp_path, transcripts):
    parts = meld_vectors(1611)
    del parts[0]["1_0"]
    parts[1]["9_9"] = np.ones(1611, "f4")
    parts[2]["0_0"] = np.full(1611, -np.inf, "f4")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(parts))

    corpus = imported(tmp_path / "out/meld", tmp_path / "a.pkl", f"--transcripts={transcripts}")

    absent = corpus.utterances.utterance_id[~corpus.modalities["audio"].present].tolist()
    assert absent == ["train_dia1_utt0", "test_dia0_utt0"]
    problems = (tmp_path / "out/meld/problems.csv").read_text()
    assert "audio not finite" in problems and "first train_dia1_utt0" in problems and "first dev_dia9_utt9" in problems


# ---------------------------------------------------------------------------------------------------- MMSA


def mmsa(**changes) -> dict:
    """Return two videos of each split; the mean of a clip's frames is its number, whatever pads them."""
    parts = {}
    for place, split in enumerate(("train", "valid", "test")):
        ids = [f"{split}{video}$_${clip}" for video in range(2) for clip in (2, 10, 1)]
        count = len(ids)
        numbers = 100.0 * (place + 1) + np.arange(1, count + 1)
        frames = np.stack([numbers + 1, numbers - 1, np.zeros(count), np.full(count, -np.inf)], axis=1)
        parts[split] = {
            "id": ids,
            "raw_text": [f"words of {name}" for name in ids],
            "text": np.repeat(frames[:, :3, None], 8, axis=2).astype("f4"),
            "audio": np.repeat(frames[:, :, None], 5, axis=2).astype("f4"),
            "vision": np.repeat(frames[:, [0, 1, 1, 1], None], 20, axis=2),
            "vision_lengths": [2] * count,
            "text_bert": np.zeros((count, 3, 3)),
            "regression_labels": np.linspace(-3, 3, count).astype("f4"),
            "classification_labels": np.arange(count) % 3,
            "annotations": [["Negative", "Neutral", "Positive"][row % 3] for row in range(count)],
        } | {name: value(count) for name, value in changes.items()}
    return parts


def without(parts: dict, *names: str) -> dict:
    return {split: {key: value for key, value in part.items() if key not in names} for split, part in parts.items()}


@pytest.mark.parametrize("dump", [pickle.dumps, dump_python2])
def test_mmsa_clips_are_utterances_of_their_video_in_order_and_frames_are_averaged(tmp_path, dump):
    (tmp_path / "unaligned_50.pkl").write_bytes(dump(mmsa()))

    corpus = imported(tmp_path / "out/mosi", tmp_path / "unaligned_50.pkl", "--corpus=mosi")

    rows = corpus.utterances
    assert rows.classes == ("negative", "neutral", "positive")
    assert rows.utterance_id[:4].tolist() == ["train0$_$1", "train0$_$2", "train0$_$10", "train1$_$1"]
    assert rows.split.tolist() == ["train"] * 6 + ["validation"] * 6 + ["test"] * 6
    assert rows.emotion[:6].tolist() == [2, 0, 1, 2, 0, 1] and rows.text[0] == "words of train0$_$1"
    numbers = [100 * place + n for place in (1, 2, 3) for n in (3, 1, 2, 6, 4, 5)]
    for modality, width in {"text": 8, "audio": 5, "visual": 20}.items():
        made = corpus.modalities[modality]
        assert made.width == width and made.present.all() and made.features[:, 0].tolist() == numbers, modality
    (note,) = rows.notes
    assert (note.what, note.count) == ("audio frames", 18)


LABELS = {
    "class numbers": (("annotations",), ("0", "1", "2"), [2, 0, 1]),
    "signs": (("annotations", "classification_labels"), ("negative", "positive"), [0, 0, 0]),
    "none": (("annotations", "classification_labels", "regression_labels"), (), [-1, -1, -1]),
}


@pytest.mark.parametrize("case", LABELS)
def test_mmsa_labels_are_annotations_else_numbers_else_signs(tmp_path, case):
    names, classes, first = LABELS[case]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(without(mmsa(), *names)))
    rows = imported(tmp_path / "out/mosi", tmp_path / "x.pkl", "--corpus=mosi").utterances
    assert rows.classes == classes and rows.emotion[:3].tolist() == first


@pytest.mark.parametrize("spelling", ["NA", "nan", "None", "(null)"])
def test_mmsa_annotations_that_are_missing_are_no_class(tmp_path, spelling):
    words = ["Negative", "Positive", spelling]
    content = without(mmsa(annotations=lambda n: words * (n // 3)), "classification_labels")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    rows = imported(tmp_path / "out/mosi", tmp_path / "x.pkl", "--corpus=mosi").utterances
    assert rows.classes == ("negative", "positive") and (rows.emotion == -1).sum() == 6
    assert "no emotion label: 6 of 18" in (tmp_path / "out/mosi/problems.csv").read_text()


def test_mmsa_class_of_minus_one_is_a_class_where_it_is_declared_and_else_counted(tmp_path):
    content = without(mmsa(classification_labels=lambda n: np.arange(n) % 3 - 1), "annotations", "regression_labels")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    rows = imported(tmp_path / "out/mosi", tmp_path / "x.pkl", "--corpus=mosi", "--classes=-1,0,1").utterances
    assert rows.classes == ("-1", "0", "1") and np.bincount(rows.emotion).tolist() == [6, 6, 6]
    rows = imported(tmp_path / "out/mosi", tmp_path / "x.pkl", "--corpus=mosi", "--replace").utterances
    assert rows.classes == ("0", "1") and (rows.emotion == -1).sum() == 6
    listed = (tmp_path / "out/mosi/problems.csv").read_text()
    assert "no emotion label: 6 of 18" in listed and "'-1' 6" in listed


def test_mmsa_video_in_two_splits_is_two_dialogues_and_listed(tmp_path):
    parts = mmsa()
    parts["test"]["id"][:3] = ["train0$_$4", "train0$_$5", "train0$_$6"]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(parts))
    rows = imported(tmp_path / "out/sims", tmp_path / "x.pkl", "--corpus=sims").utterances
    assert {"train_train0", "test_train0"} <= set(rows.dialogue_id)
    assert "a video in several splits: train, test" in (tmp_path / "out/sims/problems.csv").read_text()


MMSA_FAULTS = {
    "ids": ({"id": lambda n: [f"{row}" for row in range(n)]}, "the id '0'; expected video$_$clip"),
    "twice": ({"id": lambda n: ["v$_$1"] * n}, "6 ids, 1 of them different"),
    "rows": ({"audio": lambda n: np.ones((n - 1, 4, 5))}, "audio: an array (5, 4, 5) of float64 for 6 ids"),
    "texts": ({"raw_text": lambda n: ["a"] * (n + 1)}, "6 ids, but texts 7"),
    "lengths": ({"vision_lengths": lambda n: [99] * n}, "vision: 6 lengths up to 99 for an array (6, 4, 20)"),
    "contradiction": ({"classification_labels": lambda n: np.arange(n)}, "one annotation has several"),
    "numbers": ({"annotations": lambda n: np.arange(n) % 3}, "an annotation is 0; expected words"),
    "words": ({"annotations": lambda n: ["joy", ""] * (n // 2)}, "classification_labels"),
}


@pytest.mark.parametrize("fault", MMSA_FAULTS)
def test_faulty_mmsa_is_refused_with_its_place(tmp_path, fault):
    changes, expected = MMSA_FAULTS[fault]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(mmsa(**changes)))
    message = refused(tmp_path, tmp_path / "x.pkl", "--corpus=mosi")
    assert "x.pkl, train" in message and expected in message


def test_mmsa_scores_of_several_emotions_are_no_sentiment(tmp_path):
    """As MOSEI's six emotions, whose first is not the sentiment."""
    content = mmsa(labels=lambda n: np.eye(6, dtype="f4")[np.arange(n) % 6])
    content = without(content, "annotations", "classification_labels", "regression_labels")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    message = refused(tmp_path, tmp_path / "x.pkl", "--corpus=mosei")
    assert "x.pkl, train: the labels are an array (6, 6) of float64: several scores of each clip" in message


def test_mmsa_labels_without_a_class_are_named(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(mmsa()))
    message = refused(tmp_path, tmp_path / "x.pkl", "--corpus=mosi", "--classes=joy,anger")
    assert "labels negative, neutral, positive are none of joy, anger" in message


# ---------------------------------------------------------------------------------------------------- vectors by id


def write_h5(path, vectors):
    with h5py.File(path, "w") as file:
        for name, vector in vectors.items():
            file[name] = vector


WRITERS = {
    "pickle": lambda path, vectors: path.write_bytes(pickle.dumps(vectors)),
    "pickle of lists": lambda path, vectors: path.write_bytes(
        pickle.dumps({k: v.tolist() for k, v in vectors.items()})
    ),
    "pickle of Python 2": lambda path, vectors: path.write_bytes(dump_python2(vectors)),
    "npz": lambda path, vectors: np.savez(path.open("wb"), **vectors),
    "npy of a dictionary": lambda path, vectors: np.save(path.open("wb"), vectors, allow_pickle=True),
    "HDF5": write_h5,
    "safetensors": lambda path, vectors: save_file(vectors, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_vectors_by_id_get_the_labels_that_prepare_left(tmp_path, kind):
    """No --replace is needed, and the list of utterances stays as `prepare` wrote it."""
    rows = make_utterances(corpus="mine")
    write_utterances(tmp_path / "mine/utterances.h5", rows)
    before = (tmp_path / "mine/utterances.h5").read_bytes()
    random = np.random.default_rng(0)
    vectors = {name: random.normal(size=9).astype("f4") for name in random.permutation(rows.utterance_id).tolist()}
    WRITERS[kind](tmp_path / "any", vectors)

    corpus = imported(tmp_path / "mine", f"--text={tmp_path / 'any'}", "--corpus=mine")

    np.testing.assert_array_equal(corpus.modalities["text"].features, [vectors[name] for name in rows.utterance_id])
    assert (tmp_path / "mine/utterances.h5").read_bytes() == before


def test_vectors_of_other_ids_are_refused_with_both(tmp_path):
    write_utterances(tmp_path / "features/mine/utterances.h5", make_utterances(corpus="mine"))
    (tmp_path / "utt.pkl").write_bytes(pickle.dumps({f"dia{n}_utt0": np.ones(4, "f4") for n in range(5)}))
    result = run(f"--text={tmp_path / 'utt.pkl'}", "--corpus=mine", f"--features={tmp_path / 'features'}")
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "names none of the utterances" in message
    assert "train-0-0 there, dia0_utt0 here" in message
    assert [path.name for path in (tmp_path / "features/mine").iterdir()] == ["utterances.h5"]


def test_labels_of_the_file_itself_come_before_those_of_prepare(tmp_path):
    write_utterances(tmp_path / "mosi/utterances.h5", make_utterances(corpus="mosi"))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(mmsa()))
    imported(tmp_path / "mosi", tmp_path / "x.pkl", "--corpus=mosi")
    assert read_utterances(tmp_path / "mosi/utterances.h5").classes == ("negative", "neutral", "positive")


def test_features_of_dialogues_are_joined_by_id_where_both_files_know_ids(tmp_path):
    """A table without labels, its rows in another order than the utterances that `prepare` left."""
    rows = make_utterances(corpus="mine")
    write_utterances(tmp_path / "mine/utterances.h5", rows)
    order = np.random.default_rng(0).permutation(len(rows))
    text = np.arange(1.0, len(rows) + 1)[:, None]
    columns = {"dialogue": rows.dialogue_id[order].astype(str), "utterance": rows.utterance_id[order].astype(str)}
    np.savez(tmp_path / "x.npz", text=text[order], **columns)
    corpus = imported(tmp_path / "mine", tmp_path / "x.npz", "--corpus=mine")
    assert corpus.modalities["text"].features[:, 0].tolist() == text[:, 0].tolist()

    columns["utterance"][0] = "another"
    np.savez(tmp_path / "x.npz", text=text[order], **columns)
    corpus = imported(tmp_path / "mine", tmp_path / "x.npz", "--corpus=mine", "--replace")
    absent = set(corpus.utterances.dialogue_id[~corpus.modalities["text"].present])
    assert absent == {rows.dialogue_id[order[0]]}


def test_vectors_of_two_widths_are_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": np.ones(4), "b": np.ones(5)}))
    assert "b: 5 values, expected 4 as in a" in refused(tmp_path, f"--text={tmp_path / 'x.pkl'}", "--corpus=mine")


def test_summary_of_an_import_is_data_too(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(mmsa()))
    identity = imported(tmp_path / "mosi", tmp_path / "x.pkl", "--corpus=mosi").modalities["text"].identity
    assert json.dumps(identity) and "MMSA" in identity["layout"]


SCORES = ("annotations", "classification_labels", "regression_labels")


@pytest.mark.parametrize("write", [np.int64, np.float32])
def test_mmsa_whole_numbers_under_labels_are_classes_and_no_sentiment(tmp_path, write):
    content = without(mmsa(labels=lambda n: (np.arange(n) % 3).astype(write)), *SCORES)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    rows = imported(tmp_path / "x", tmp_path / "x.pkl", "--corpus=x", "--classes=negative,neutral,positive").utterances
    assert rows.emotion[:3].tolist() == [2, 0, 1]
    content = without(mmsa(labels=lambda n: np.linspace(-3, 3, n)[:, None, None]), *SCORES)  # MulT's scores
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    rows = imported(tmp_path / "x", tmp_path / "x.pkl", "--corpus=x", "--replace").utterances
    assert rows.classes == ("negative", "positive")


@pytest.mark.parametrize("of_test", [[0.0, 0.0, 1.0, 2.0], None])
def test_mmsa_scores_are_scores_though_a_split_has_whole_numbers_alone(tmp_path, of_test):
    content = without(mmsa(labels=lambda n: np.linspace(-3, 3, n)[:, None, None]), *SCORES)
    for name, column in content["test"].items():
        content["test"][name] = column[:4]
    content["test"]["labels"] = of_test and np.array(of_test)[:, None, None]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    rows = imported(tmp_path / "x", tmp_path / "x.pkl", "--corpus=x").utterances
    assert set(rows.emotion[rows.split == "test"]) == ({1, 2} if of_test else {-1})


NO_NUMBERS = {"labels": lambda n: ["joy", "anger"] * (n // 2)}, {"vision_lengths": lambda n: [(1, 2)] * n}


@pytest.mark.parametrize("fault", NO_NUMBERS)
def test_mmsa_labels_or_lengths_that_are_no_numbers_are_refused(tmp_path, fault):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(without(mmsa(**fault), *SCORES)))
    assert "x.pkl, train" in refused(tmp_path, tmp_path / "x.pkl", "--corpus=mosi")


@pytest.mark.parametrize(
    ("clips", "order"),
    [(["utt10", "utt2", "utt1"], ["utt1", "utt2", "utt10"]), (["M000", "F000", "M001"], ["M000", "F000", "M001"])],
)
def test_mmsa_clips_with_letters_are_in_the_order_of_their_numbers_else_of_the_file(tmp_path, clips, order):
    parts = mmsa()
    for split, part in parts.items():
        part["id"] = [f"{split}{video}$_${clip}" for video in range(2) for clip in clips]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(parts))
    rows = imported(tmp_path / "x", tmp_path / "x.pkl", "--corpus=x").utterances
    assert rows.utterance_id[:3].tolist() == [f"train0$_${clip}" for clip in order]


def test_mmsa_words_beside_numbers_and_declared_classes_without_a_row_are_refused(tmp_path):
    parts = mmsa()
    del parts["test"]["annotations"]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(parts))
    assert "words in some rows, numbers in others" in refused(tmp_path, tmp_path / "x.pkl", "--corpus=mosi")
    parts = without(mmsa(classification_labels=lambda n: np.arange(n) % 2 + 1), "annotations")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(parts))
    assert "no row has the class a" in refused(tmp_path, tmp_path / "x.pkl", "--corpus=mosi", "--classes=a,b,c")


def test_frames_by_utterance_in_place_of_dialogues_are_named(tmp_path):
    rows = make_utterances(corpus="mine")
    write_utterances(tmp_path / "mine/utterances.h5", rows)
    frames = {name: np.ones((3 + place % 4, 5), "f4") for place, name in enumerate(rows.utterance_id)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(frames))
    result = run(f"--audio={tmp_path / 'x.pkl'}", "--corpus=mine", f"--features={tmp_path}")
    assert result.exit_code == 1 and "Its names are those of utterances: frames" in " ".join(result.stderr.split())


def test_mmsa_keys_that_are_not_used_are_listed(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(mmsa(emotion=lambda n: np.arange(n) % 6)))
    imported(tmp_path / "x", tmp_path / "x.pkl", "--corpus=x")
    assert "unknown column: 'emotion'" in (tmp_path / "x/problems.csv").read_text()
