"""`dferc import` of tables: .npz, HDF5 and Parquet, one row per utterance."""

import json
import time

import h5py
import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.importing.readers.parquet import read_parquet
from dferc.store.hdf5 import read_corpus
from tests.dferc.importing.test_importing_layouts import train_one_epoch
from tests.helpers import feature_files as made


def write_npz(path, columns):
    np.savez(path, **columns)


def write_objects(path, columns):
    np.savez(path, **{name: column.astype(object) if column.ndim == 1 else column for name, column in columns.items()})


def write_hdf5(path, columns):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[name] = column.astype(object) if column.dtype.kind == "U" else column


def write_parquet(path, columns):
    table = {name: list(column) if column.ndim == 2 else column for name, column in columns.items()}
    parquet.write_table(pyarrow.table(table), path)


@pytest.mark.parametrize("write", [write_npz, write_objects, write_hdf5, write_parquet])
def test_table_is_imported_and_trained(tmp_path, write):
    write(tmp_path / "table.npz", made.table())
    result = CliRunner().invoke(
        main, ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    )
    assert result.exit_code == 0, result.output
    found = read_corpus(tmp_path / "mine", "mine")
    rows = found.utterances
    assert rows.dialogue_id.tolist() == ["train_0"] * 2 + ["train_1"] * 3 + ["train_2"] + ["dev_0"] * 2 + ["test_1"]
    assert rows.utterance_id[:2].tolist() == ["train_0_0", "train_0_2"] and rows.position[1] == 2
    assert rows.classes == ("anger", "joy") and rows.emotion.tolist() == [1, 0, -1, 1, 0, 1, 1, 0, 1]
    assert rows.split.tolist() == ["train"] * 6 + ["validation"] * 2 + ["test"]
    assert rows.speaker[1] == "Bob" and rows.text[8] == "line 8"
    np.testing.assert_array_equal(found.modalities["text"].features, made.table()["text"].astype(np.float32))
    assert found.modalities["audio"].width == 5
    train_one_epoch(found, tmp_path)


VOTES = np.array([[1, 3], [2, 1], [1, 1], [0, 2], [5, 0], [0, 1], [1, 2], [3, 0], [4, 1]])
"""Counts for anger and joy, by row of `made.table()`; row 2 has no label, and the last one another label."""


@pytest.mark.parametrize(
    "votes", [VOTES, VOTES / VOTES.sum(axis=1, keepdims=True), [f"joy:{joy} anger:{anger}" for anger, joy in VOTES]]
)
def test_votes_of_a_table_go_with_their_rows(tmp_path, votes):
    order = np.random.default_rng(2).permutation(9)
    columns = made.table() | {"soft_labels" if np.ndim(votes) == 2 else "votes": np.array(votes)}
    write_npz(tmp_path / "table.npz", {name: column[order] for name, column in columns.items()})
    arguments = ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = read_corpus(tmp_path / "mine", "mine")
    np.testing.assert_allclose(found.utterances.votes, VOTES / VOTES.sum(axis=1, keepdims=True))
    assert list(found.modalities) == ["text", "audio"]
    problems = (tmp_path / "mine/problems.csv").read_text()
    assert "votes without a label: 1" in problems and "label of fewer votes than another class: 1" in problems


def test_votes_that_are_none_are_refused_by_row_and_name(tmp_path):
    for wrong, fact in (
        ([0.5, 0.1], "sum of 1"),
        ([-1, 2], "negative"),
        ([np.nan, 1], "finite"),
        ([0, 0], "all are 0"),
        ([1e308, 1e308], "their sum is no finite"),
    ):
        votes = VOTES.astype(float)
        votes[4] = wrong
        write_npz(tmp_path / "table.npz", made.table() | {"votes": votes})
        result = CliRunner().invoke(
            main, ["import", str(tmp_path / "table.npz"), "--corpus=x", f"--features={tmp_path}"]
        )
        assert result.exit_code == 1 and fact in result.stderr, result.output
        assert "table.npz" in result.stderr and "row 4 of 1, utterance 2: the votes" in result.stderr


def test_a_table_that_lacks_the_splits_alone_is_told_so(tmp_path):
    message, rows = imported(
        tmp_path, write_npz, {"split": None, "dialogue": np.repeat(["a", "b", "c"], 3), "utterance": None}
    )
    assert rows is None and "none has labels and splits (table.npz lacks the splits). Add" in message


def test_votes_under_a_name_of_two_words_are_votes_and_without_labels_are_no_crash(tmp_path):
    message, rows = imported(tmp_path, write_npz, {"votes": VOTES, "emotion": None}, "--classes=anger,joy")
    assert rows is None and "none has labels and splits" in message
    cells = np.array([f"anger:{anger} joy:{joy}" for anger, joy in VOTES])
    message, rows = imported(tmp_path, write_npz, {"Soft Labels": cells})
    assert rows is not None, message
    np.testing.assert_allclose(rows.votes[0], [0.25, 0.75])


def test_two_columns_of_votes_are_refused(tmp_path):
    write_npz(tmp_path / "table.npz", made.table() | {"votes": VOTES, "Soft_labels": VOTES})
    result = CliRunner().invoke(main, ["import", str(tmp_path / "table.npz"), "--corpus=x", f"--features={tmp_path}"])
    assert result.exit_code == 1 and "votes and Soft_labels; expected one" in result.stderr, result.output


def test_rows_are_put_in_order_with_their_features(tmp_path):
    columns = made.table()
    order = np.random.default_rng(1).permutation(9)
    write_npz(tmp_path / "shuffled.npz", {name: column[order] for name, column in columns.items()})
    write_npz(tmp_path / "table.npz", columns)
    for name in ("table", "shuffled"):
        arguments = ["import", str(tmp_path / f"{name}.npz"), f"--corpus={name}", f"--features={tmp_path}"]
        assert CliRunner().invoke(main, arguments).exit_code == 0
    sorted_rows, shuffled = (read_corpus(tmp_path / name) for name in ("table", "shuffled"))
    assert sorted_rows.utterances.rows_hash == shuffled.utterances.rows_hash
    np.testing.assert_array_equal(sorted_rows.modalities["text"].features, shuffled.modalities["text"].features)


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path):
    columns = [pyarrow.array(range(2)), pyarrow.array([[1.0], [2.0]]), pyarrow.array([[1.0], [2.0]])]
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=["dialogue", "text", "text"]), tmp_path / "x.parquet")
    result = CliRunner().invoke(main, ["import", str(tmp_path / "x.parquet"), "--corpus=mine"])
    assert result.exit_code == 1 and "x.parquet: columns of one name: dialogue, text, text" in result.stderr


def imported(tmp_path, write, changes, *options):
    """Import a table with other columns; return the message and the rows, None where it is refused."""
    path = tmp_path / "table.npz"  # numpy adds the suffix; file types are recognised by content
    write(path, {name: column for name, column in (made.table() | changes).items() if column is not None})
    arguments = ["import", str(path), "--corpus=mine", f"--features={tmp_path}", "--replace", *options]
    result = CliRunner().invoke(main, arguments)
    message = " ".join(result.stderr.split())
    return message, read_corpus(tmp_path / "mine").utterances if result.exit_code == 0 else None


NULLABLE = [None, 1, 1, 0, 0, None, 1, 0, 1]  # what pandas' Int64 becomes


@pytest.mark.parametrize("write", [write_npz, write_parquet])
@pytest.mark.parametrize("kind", [int, float, str, lambda number: f"{number}.0"])
def test_nullable_numbers_are_classes_and_missing_labels_are_counted(tmp_path, write, kind):
    cells = np.array([None if cell is None else kind(cell) for cell in NULLABLE], dtype=object)
    message, rows = imported(tmp_path, write, {"emotion": cells})
    assert rows.classes == ("0", "1")
    assert rows.emotion.tolist() == [-1, 1, 1, 0, 0, -1, 1, 0, 1]
    assert "no emotion label" in message and "2 of 9" in message and "2 of them unlabelled" in message


def test_categories_of_parquet_are_names(tmp_path):
    names = pyarrow.array(["joy", None, "anger", "joy", "NA", "joy", "anger", "joy", "joy"]).dictionary_encode()
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    parquet.write_table(pyarrow.table(table | {"emotion": names}), tmp_path / "t.parquet")
    arguments = ["import", str(tmp_path / "t.parquet"), "--corpus=mine", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    rows = read_corpus(tmp_path / "mine").utterances
    assert rows.classes == ("anger", "joy") and rows.emotion.tolist() == [1, -1, 0, 1, -1, 1, 0, 1, 1]


def test_names_that_hugging_face_keeps_beside_the_numbers_are_the_labels(tmp_path):
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    names = {"names": ["anger", "joy"], "_type": "ClassLabel"}
    features = {"emotion": names, "text": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}}
    other = ({"info": {"features": {"emotion": [names]}}}, {"info": {"features": None}}, "{")
    for given in ({"info": {"features": features}}, *other):
        metadata = {"huggingface": given if isinstance(given, str) else json.dumps(given)}
        labels = table | {"emotion": [1, -1, 0, 1, None, 1, 0, 1, 1]}
        parquet.write_table(pyarrow.table(labels).replace_schema_metadata(metadata), tmp_path / "t.parquet")
        arguments = ["import", str(tmp_path / "t.parquet"), "--corpus=mine", f"--features={tmp_path}", "--replace"]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        rows = read_corpus(tmp_path / "mine").utterances
        assert rows.classes == (("anger", "joy") if "emotion" in str(given) and "[{" not in str(given) else ("0", "1"))
        assert rows.emotion.tolist() == [1, -1, 0, 1, -1, 1, 0, 1, 1]


def test_names_of_a_column_that_was_dropped_are_nobody_s(tmp_path):
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    features = {name: {"names": known, "_type": "ClassLabel"} for name, known in (("topic", ["a"]), ("emotion", None))}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(pyarrow.table(table).replace_schema_metadata(metadata), tmp_path / "t.parquet")
    arguments = ["import", str(tmp_path / "t.parquet"), "--corpus=mine", f"--features={tmp_path}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.exception


def test_a_struct_with_a_field_of_names_takes_no_names_from_the_labels(tmp_path):
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    text = {"dtype": "string", "_type": "Value"}
    features = {"emotion": {"names": ["anger", "joy"], "_type": "ClassLabel"}, "cast": {"names": text, "show": text}}
    labels = table | {"emotion": [1, 0, 0, 1, 1, 1, 0, 1, 1], "cast": [{"names": "Anna", "show": "s"}] * 9}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(pyarrow.table(labels).replace_schema_metadata(metadata), tmp_path / "t.parquet")
    arguments = ["import", str(tmp_path / "t.parquet"), "--corpus=mine", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert read_corpus(tmp_path / "mine").utterances.classes == ("anger", "joy")


def test_numbers_of_speakers_are_names(tmp_path):
    message, rows = imported(tmp_path, write_npz, {"speaker": np.array([0, 1, -1, 1, 0, 1, 0, 1, 0])})
    assert rows.speaker.tolist() == ["0", "1", "", "1", "0", "1", "0", "1", "0"]
    assert "missing values of speaker" in message


def test_a_dash_and_other_spellings_of_nobody_are_no_speakers(tmp_path):
    speakers = ["Ann", "-", "none", "undefined", "N.A.", "k.A.", "Nan", "Nil", "Bo"]
    write_npz(tmp_path / "table.npz", made.table() | {"speaker": np.array(speakers)})
    run = ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    assert "missing values of speaker" in CliRunner().invoke(main, run).stderr
    found = read_corpus(tmp_path / "mine").utterances.speaker.tolist()
    assert found == ["Ann", "", "", "", "", "", "Nan", "Nil", "Bo"]


def test_initials_are_speakers(tmp_path):
    write_npz(tmp_path / "table.npz", made.table() | {"speaker": np.array(["K.A.", "N.V.", "XX"] * 3)})
    run = ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, run).exit_code == 0
    assert read_corpus(tmp_path / "mine").utterances.speaker.tolist() == ["K.A.", "N.V.", "XX"] * 3


@pytest.mark.parametrize("write", [write_npz, write_hdf5])
def test_column_of_one_value_wide_arrays_is_a_column(tmp_path, write):
    message, rows = imported(tmp_path, write, {"emotion": np.array([[0, 1, 0, 1, 0, 1, 0, 1, 0]]).T})
    assert rows.classes == ("0", "1"), message


def test_a_class_with_a_comma_is_declared_in_quotes(tmp_path):
    labels = np.array(["joy", "joy, guilt", "guilt"] * 3)
    message, _ = imported(tmp_path, write_npz, {"emotion": labels})
    assert "names 2 classes" in message
    message, rows = imported(tmp_path, write_npz, {"emotion": labels}, '--classes=guilt, "joy, guilt", joy')
    assert rows.classes == ("guilt", "joy, guilt", "joy")


def test_declared_classes_that_are_numbers_are_names_where_any_label_is_one_of_them(tmp_path):
    labels = np.array([0, 1, 2, 1, 0, 2, 1, 0, 2])
    message, rows = imported(tmp_path, write_npz, {"emotion": labels}, "--classes=1,2,3")
    assert rows is None and "the label is 0; expected one of 1, 2, 3, or nothing" in message
    message, rows = imported(tmp_path, write_npz, {"emotion": labels + 1}, "--classes=1,2,3")
    assert rows.classes == ("1", "2", "3") and rows.emotion.tolist() == labels.tolist(), message


def test_numbering_from_one_makes_no_class_without_rows(tmp_path):
    numbers = {"emotion": np.array([1, 2, 2, 1, 2, 1, 1, 2, 1])}
    message, rows = imported(tmp_path, write_npz, numbers)
    assert rows.classes == ("1", "2") and "labels numbered from 1" in message
    message, rows = imported(tmp_path, write_npz, numbers, "--classes=joy,anger")
    assert rows.classes == ("joy", "anger") and rows.emotion[:2].tolist() == [0, 1]
    message, _ = imported(tmp_path, write_npz, numbers, "--classes=joy,anger,fear")
    assert "counted from 0 or from 1?" in message


REFUSED = {
    "one-hot": ({"emotion": np.eye(3)[[0, 1, 2] * 3]}, "emotion is an array (9, 3) of float64: one-hot or soft scores"),
    "scores": ({"emotion": np.linspace(0.1, 0.9, 9)}, "row 0: the label is '0.1': a score, expected one class"),
    "unsigned -1": ({"emotion": np.array([0, 1, 0, 1, 255] + [0] * 4, np.uint8)}, "row 4: the label is 255; expected"),
    "phantom": ({"emotion": np.array([0, 1] * 4 + [0])}, "no row has the class fear, which --classes names"),
    "typo": ({"emotion": None, "emotoin": np.array(["a"] * 9)}, "unknown column 'emotoin'. Did you mean 'emotion'?"),
    "frames": ({"audio": np.ones((9, 2, 3))}, "audio is an array (9, 2, 3) of float64: expected numbers [N, D]"),
    "NUL": ({"sentence": np.array(["a"] * 8 + ["b\0c"])}, "row 8: sentence holds a NUL character"),
    "surrogate": ({"speaker": np.array(["a"] * 8 + ["\ud800"])}, "row 8: speaker holds half of a character"),
    "64 bits": (
        {"utterance": np.array([0, 2, 0, 1, 2, 0, 0, 1, 1 << 63], np.uint64)},
        "row 8: utterance is 9223372036",
    ),
    "lost digits": ({"dialogue": made.table()["dialogue"] + 2.0**60}, "a float that may have lost digits"),
    "float32": (
        {"dialogue": np.repeat(np.arange(20210301, 20210310), 1).astype(np.float32)},
        "row 0: dialogue is 20210300.0, a float that may have lost digits",
    ),
    "float16": ({"dialogue": np.arange(2101, 2110).astype(np.float16)}, "a float that may have lost digits"),
    "no dialogue": ({"dialogue": np.array([0, 0, np.nan, 1, 1, 2, 0, 0, 1])}, "row 2: dialogue is missing"),
    "utterance twice": ({"utterance": np.array([0, 0, 0, 1, 2, 0, 0, 1, 0])}, "row 1: the utterance 0 of row 0 again"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_faulty_cells_are_refused_with_their_row(tmp_path, fault):
    changes, expected = REFUSED[fault]
    classes = ["--classes=joy,anger,fear"] if fault == "phantom" else []
    message, _ = imported(tmp_path, write_npz, changes, *classes)
    assert message.startswith("error:") and "table" in message and expected in message, message


def test_ids_of_short_floats_in_parquet_are_refused(tmp_path):
    """float32 holds every whole number below 2 ** 24 alone: dates as ids would become those of other days."""
    ids = pyarrow.array(np.arange(20210301, 20210310).astype(np.float32))
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    parquet.write_table(pyarrow.table(table | {"dialogue": ids}), tmp_path / "t.parquet")
    result = CliRunner().invoke(main, ["import", str(tmp_path / "t.parquet"), "--corpus=x", f"--features={tmp_path}"])
    assert result.exit_code == 1 and "20210300.0, a float that may have lost digits" in " ".join(result.stderr.split())


def test_texts_that_hdf5_holds_in_another_encoding_are_refused_with_their_row(tmp_path):
    write_hdf5(tmp_path / "table", made.table())
    with h5py.File(tmp_path / "table", "a") as file:
        del file["sentence"]
        texts = np.array([b"fine"] * 8 + [b"caf\xe9"], dtype=object)
        file.create_dataset("sentence", data=texts, dtype=h5py.string_dtype())
    result = CliRunner().invoke(main, ["import", str(tmp_path / "table"), "--corpus=mine", f"--features={tmp_path}"])
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "row 8" in message and "sentence" in message and "UTF-8" in message


@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_labels_of_bytes_in_another_encoding_are_refused_with_their_row(tmp_path, write):
    labels = np.array([b"joy", "生气".encode("gbk")] * 4 + [b"joy"])
    write(tmp_path / "table.npz", made.table() | {"emotion": labels})
    result = CliRunner().invoke(main, ["import", str(tmp_path / "table.npz"), "--corpus=m", f"--features={tmp_path}"])
    assert result.exit_code == 1 and "row 1: emotion holds half of a character" in result.stderr
    assert not (tmp_path / "m").exists()


def test_sentences_of_bytes_with_marks_of_cp1252_are_repaired(tmp_path):
    sentences = np.array([b"I\x92m fine\x85", "caf\u00e9 it is".encode()] * 4 + [b"Yes."])
    write_npz(tmp_path / "table.npz", made.table() | {"sentence": sentences})
    run = ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, run).exit_code == 0
    assert read_corpus(tmp_path / "mine").utterances.text[:2].tolist() == ["I\u2019m fine\u2026", "caf\u00e9 it is"]


@pytest.mark.parametrize("encoding", ["mac_roman", "cp850"])
def test_sentences_of_bytes_in_another_encoding_are_refused_with_their_row(tmp_path, encoding):
    sentences = np.array([b"Yes.", "Das ist schön".encode(encoding)] * 4 + [b"No."])
    write_npz(tmp_path / "table.npz", made.table() | {"sentence": sentences})
    result = CliRunner().invoke(main, ["import", str(tmp_path / "table.npz"), "--corpus=m", f"--features={tmp_path}"])
    assert result.exit_code == 1 and "row 1: sentence holds half of a character" in result.stderr


def test_unknown_columns_and_unused_files_are_listed(tmp_path):
    write_npz(tmp_path / "table", made.table() | {"valence": np.arange(9)})
    write_npz(tmp_path / "further", {name: made.table()[name] for name in ("dialogue", "text")})
    (tmp_path / "further.npz").rename(tmp_path / "further")
    (tmp_path / "table.npz").rename(tmp_path / "table")
    files = [str(tmp_path / name) for name in ("table", "further")]
    options = ["--corpus=mine", f"--features={tmp_path}", f"--text={files[0]}"]
    result = CliRunner().invoke(main, ["import", *files, *options])
    printed = result.stderr
    assert result.exit_code == 0, printed
    assert "unknown column" in printed and "'valence'" in printed
    assert "files unused: file unused: further" in printed
    assert printed.index("rows: 9 read, 9 used, 1 of them unlabelled") < printed.index("done:")


@pytest.mark.parametrize("bomb", ["texts", "rows", "widths"])
def test_parquet_that_names_its_values_over_and_over_is_refused_while_it_is_read(tmp_path, bomb):
    def vectors(rows, width):
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(rows * width, np.float32)), width)

    rows = {"texts": 50_000, "rows": 2_000_000, "widths": 200}[bomb]
    table = {"dialogue": pyarrow.array(["d"]).take(pyarrow.array(np.zeros(rows, np.int32)))}
    table["text"] = vectors(rows, 200_000 if bomb == "widths" else 1)
    if bomb == "texts":
        table["sentence"] = pyarrow.DictionaryArray.from_arrays(
            np.zeros(rows, np.int32), pyarrow.array(["x" * 100_000])
        )
    parquet.write_table(pyarrow.table(table), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1 << 20
    began = time.process_time()
    with pytest.raises(InputError, match="would fill [0-9]+ MiB, at most [0-9]+ are expected of a file of"):
        read_parquet(tmp_path / "bomb.parquet")
    assert time.process_time() - began < 2


def test_columns_of_meld_hold_numbers_and_transcripts(tmp_path):
    table = made.table() | {"Utterance": np.array([f"Yes, {row // 2}." for row in range(9)])}
    table["Utterance_ID"] = table.pop("utterance")
    del table["sentence"]
    run = ["import", str(tmp_path / "table.npz"), f"--features={tmp_path}", "--corpus"]
    write_npz(tmp_path / "table.npz", table)
    assert CliRunner().invoke(main, [*run, "mine"]).exit_code == 0
    rows = read_corpus(tmp_path / "mine").utterances
    assert rows.utterance_id[1] == "train_0_2" and rows.text[:2].tolist() == ["Yes, 0.", "Yes, 0."]
    write_npz(tmp_path / "table.npz", {name: table[name] for name in table if name != "Utterance_ID"})
    assert "transcripts? Name that column `sentence`" in " ".join(CliRunner().invoke(main, [*run, "m"]).stderr.split())


def test_numbers_of_utterances_that_come_again_are_not_taken_for_transcripts(tmp_path):
    write_npz(tmp_path / "table.npz", made.table() | {"utterance": np.zeros(9, int)})
    run = ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    message = " ".join(CliRunner().invoke(main, run).stderr.split())
    assert "the utterance 0 of row 0 again" in message and "transcripts" not in message


def test_equal_texts_of_parquet_are_one_object(tmp_path):
    texts = pyarrow.array(["again" * 100, None, "other"] * 100)
    parquet.write_table(pyarrow.table({"sentence": texts}), tmp_path / "t.parquet")
    read = read_parquet(tmp_path / "t.parquet")["sentence"]
    assert read.tolist() == texts.to_pylist() and len({id(text) for text in read}) == 3


def test_names_of_an_hdf5_enumeration_are_the_labels(tmp_path):
    columns = made.table()
    numbers = {"anger": 4, "joy": 2, "NA": 9}
    coded = np.array([numbers[name or "NA"] for name in columns.pop("emotion")], "i1")
    write_hdf5(tmp_path / "table.h5", columns)
    with h5py.File(tmp_path / "table.h5", "a") as file:
        file.create_dataset("emotion", data=coded, dtype=h5py.enum_dtype(numbers, basetype="i1"))
    arguments = ["import", str(tmp_path / "table.h5"), "--corpus=mine", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    rows = read_corpus(tmp_path / "mine", "mine").utterances
    assert rows.classes == ("anger", "joy") and rows.emotion.tolist() == [1, 0, -1, 1, 0, 1, 1, 0, 1]

    with h5py.File(tmp_path / "table.h5", "a") as file:
        file["emotion"][3] = 7
    refused = CliRunner().invoke(main, [*arguments, "--replace"])
    assert refused.exit_code == 1 and "emotion: the number 7 has no name in its enumeration" in refused.stderr


def one_by_one(matrix):
    """Return vectors as pandas and NumPy keep them in a column of objects."""
    cells = np.empty(len(matrix), dtype=object)
    cells[:] = list(matrix)
    return cells


def write_tensors(path, columns):
    arrays = {
        name: pyarrow.FixedShapeTensorArray.from_numpy_ndarray(column.copy()) if column.ndim == 2 else column
        for name, column in columns.items()
    }
    parquet.write_table(pyarrow.table(arrays), path)


@pytest.mark.parametrize("write", [write_npz, write_tensors])
def test_vectors_that_a_column_holds_one_by_one_are_features_and_no_sentence(tmp_path, write):
    text = made.table()["text"]
    imported(tmp_path, write, {"text": one_by_one(text) if write is write_npz else text, "sentence": None})
    found = read_corpus(tmp_path / "mine")
    np.testing.assert_array_equal(found.modalities["text"].features, text.astype(np.float32))
    assert not any(found.utterances.text)


@pytest.mark.parametrize("column", ["speaker", "sentence"])
def test_lists_where_a_name_or_a_text_is_due_are_refused(tmp_path, column):
    cells = np.empty(9, dtype=object)
    cells[:] = [["a"], ["b", "c"], "d", *"efghij"]
    message, rows = imported(tmp_path, write_npz, {column: cells})
    assert rows is None and f"row 0: {column} is a list" in message, message


@pytest.mark.parametrize("column", ["votes", "utterance", "dialogue"])
def test_lists_of_lists_where_a_name_or_votes_are_due_are_refused(tmp_path, column):
    nested = [np.ones((2 + row % 2, 2)).tolist() for row in range(9)]
    if column == "votes":  # of each annotator
        write_npz(tmp_path / "table.npz", made.table() | {column: np.ones((9, 3, 2))})
    else:
        table = {name: list(values) for name, values in made.table().items()} | {column: [[row] for row in nested]}
        parquet.write_table(pyarrow.table(table), tmp_path / "table.npz")
    result = CliRunner().invoke(main, ["import", str(tmp_path / "table.npz"), "--corpus=m", f"--features={tmp_path}"])
    assert result.exit_code == 1 and column in result.stderr and "expected" in result.stderr


def test_a_missing_list_of_parquet_is_absent(tmp_path):
    columns = made.table()
    for kind in (pyarrow.list_(pyarrow.float32()), pyarrow.list_(pyarrow.float32(), columns["audio"].shape[1])):
        rows = [None if row == 3 else vector for row, vector in enumerate(columns["audio"].tolist())]
        table = {name: list(column) if column.ndim == 2 else column for name, column in columns.items()}
        parquet.write_table(pyarrow.table(table | {"audio": pyarrow.array(rows, type=kind)}), tmp_path / "x.parquet")
        arguments = ["import", str(tmp_path / "x.parquet"), "--corpus=mine", f"--features={tmp_path}", "--replace"]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        audio = read_corpus(tmp_path / "mine").modalities["audio"]
        assert (
            audio.present.sum() == 8 and not audio.present[read_corpus(tmp_path / "mine").utterances.text == "line 3"]
        )


def test_lists_of_several_lengths_are_listed_where_nothing_needs_them(tmp_path):
    """A tokenizer's input_ids beside the features of what it has cut."""
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    for name, fault in (("input_ids", ""), ("audio", "the lists in its column audio have the lengths 1, 2, 3")):
        ragged = pyarrow.array([[1] * (row + 1) for row in range(9)])
        parquet.write_table(pyarrow.table(table | {name: ragged}), tmp_path / "x.parquet")
        arguments = ["import", str(tmp_path / "x.parquet"), "--corpus=mine", f"--features={tmp_path}", "--replace"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == bool(fault) and (fault or "'input_ids'") in " ".join(result.stderr.split())


@pytest.mark.parametrize("cell", [[], None])
def test_a_column_of_parquet_without_a_value_is_listed(tmp_path, cell):
    table = {name: list(column) if column.ndim == 2 else column for name, column in made.table().items()}
    empty = pyarrow.array([cell] * 9, type=pyarrow.list_(pyarrow.float32()))
    parquet.write_table(pyarrow.table(table | {"tags": empty}), tmp_path / "x.parquet")
    arguments = ["import", str(tmp_path / "x.parquet"), "--corpus=mine", f"--features={tmp_path}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "'tags'" in result.stderr, result.output


def test_a_group_of_hdf5_is_listed(tmp_path):
    def write(path, columns):
        write_hdf5(path, columns)
        with h5py.File(path, "a") as file:
            file["more/heart"] = columns["audio"]

    imported(tmp_path, write, {})
    assert "unknown column: 'more'" in (tmp_path / "mine/problems.csv").read_text()


def test_labels_that_are_written_as_vectors_too_are_no_features(tmp_path):
    codes = np.array([[0, 1], [1, 0], [0, 0], [0, 1], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]])
    message, rows = imported(tmp_path, write_npz, {"onehot": codes})
    assert rows is None and "onehot: one vector for each class" in message
    codes[0] = [1, 0]  # a feature of two values, such as who speaks
    assert imported(tmp_path, write_npz, {"onehot": codes})[1] is not None


def test_eval_beside_test_is_no_second_test_split(tmp_path):
    split = made.table()["split"]
    message, rows = imported(tmp_path, write_npz, {"split": np.where(split == "train", "train", "eval")})
    assert rows is not None and set(rows.split) == {"train", "test"}, message
    message, rows = imported(tmp_path, write_npz, {"split": np.array([*["train"] * 6, "Eval", "eval", "test"])})
    assert rows is None and "splits eval and test: which is validation?" in message


def test_votes_in_another_order_than_the_classes_are_refused(tmp_path):
    emotion = np.array(["joy", "anger", "neutral"] * 3)
    votes = np.array([[0, 3, 1], [1, 0, 4], [3, 1, 0]] * 3)  # of neutral, joy, anger
    message, rows = imported(tmp_path, write_npz, {"emotion": emotion, "votes": votes})
    assert rows is None and "as if its columns were neutral, joy, anger, not anger, joy, neutral" in message
    np.savez(tmp_path / "named.npz", **made.table() | {"emotion": emotion, "votes": votes})
    named = ["import", str(tmp_path / "named.npz"), "--corpus=named", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, [*named, "--classes=neutral,joy,anger"]).exit_code == 0
    rows = read_corpus(tmp_path / "named", "named").utterances
    assert rows.votes[0].tolist() == [0, 0.75, 0.25] and rows.classes[rows.emotion[0]] == "joy"


def test_votes_in_another_order_than_numbered_classes_cannot_be_mended_by_names(tmp_path):
    votes = np.array([[3, 0, 1], [0, 1, 4], [1, 3, 0]] * 3)
    table = {"emotion": np.array([1, 2, 0] * 3), "votes": votes}
    message, rows = imported(tmp_path, write_npz, table)
    assert rows is None and "were 1, 0, 2, not 0, 1, 2. " in message and "put its columns in theirs" in message
    message, rows = imported(tmp_path, write_npz, table | {"votes": votes[:, [1, 0, 2]]})
    assert rows is not None, message


def test_letters_of_iemocaps_actors_are_other_persons_in_each_session(tmp_path):
    names = np.array([f"Ses0{session}F_impro01" for session in (1, 2, 5)]).repeat(3)
    table = {"dialogue": names, "split": np.repeat(["train", "dev", "test"], 3), "utterance": None}
    message, rows = imported(tmp_path, write_npz, table | {"speaker": np.array(list("FMFFMFFMM"))})
    assert rows is not None, message
    assert rows.speaker.tolist() == "Ses01F Ses01M Ses01F Ses02F Ses02M Ses02F Ses05F Ses05M Ses05M".split()


def test_numbers_of_dialogues_whose_rows_were_split_are_refused(tmp_path):
    split = np.array(["train", "test", *["train"] * 7])
    dialogue, utterance = np.repeat([0, 1, 2], 3), np.tile([0, 1, 2], 3)
    changes = {"dialogue": dialogue, "utterance": utterance, "split": split}
    message, rows = imported(tmp_path, write_npz, changes)
    assert rows is None and "the dialogue 0 is in test and train, with other utterances in each" in message
    assert "Split whole dialogues" in message
    running = changes | {"utterance": np.arange(9)}  # as pandas' index: it shows nothing
    for given in (running, changes | {"utterance": None}):
        message, rows = imported(tmp_path, write_npz, given)
        assert "numbers in several splits; first: dialogue: 1" in message and rows is not None
    message, rows = imported(tmp_path, write_npz, changes | {"utterance": None})
    assert "numbers in several splits; first: dialogue: 1" in message and rows is not None


def test_places_of_utterances_order_them_however_they_are_written(tmp_path):
    order = np.random.default_rng(3).permutation(9)
    given = {name: column[order] for name, column in made.table().items()}
    place = given["utterance"]
    names = np.array([f"u{row}" for row in order])
    expected = imported(tmp_path, write_npz, given)[1].text.tolist()
    for changes in (
        {"utterance": place.astype(str)},
        {"utterance": None, "position": place},
        {"utterance": None, "utterance_id": names, "position": place},
        {"utterance": None, "utterance_id": names, "position": place.astype(str)},
    ):
        message, rows = imported(tmp_path, write_npz, given | changes)
        assert rows is not None and rows.text.tolist() == expected, message
    message, _ = imported(tmp_path, write_npz, given | {"utterance_id": order.astype(str), "utterance": None})
    assert "names of utterances are numbers that do not rise" in message
    running = given | {"utterance_id": 9 - order, "position": place, "utterance": None}
    assert imported(tmp_path, write_npz, running)[1].text.tolist() == expected
    message, rows = imported(tmp_path, write_npz, given | {"utterance_id": names, "position": names, "utterance": None})
    assert "position is no column of whole numbers" in message and rows is not None
    message, rows = imported(tmp_path, write_npz, given | {"position": 9 - place})
    assert "beside numbers of utterances" in message and rows.text.tolist() == expected


@pytest.mark.parametrize("names", [["u0", "u10", "u2"], ["s_F000", "s_F001", "s_M000"]])
def test_names_in_the_order_of_the_alphabet_are_listed(tmp_path, names):
    given = np.array([f"d{dialogue}{name}" for dialogue in range(3) for name in names])
    table = {"dialogue": np.repeat(["a", "b", "c"], 3), "split": np.repeat(["train", "dev", "test"], 3)}
    message, _ = imported(tmp_path, write_npz, table | {"utterance": given})
    assert "utterances in the order of the alphabet; first: utterance: in 3 dialogue(s), first a" in message
    for changes in ({"utterance": given.reshape(3, 3)[:, [0, 2, 1]].ravel()}, {"position": np.tile(np.arange(3), 3)}):
        message, rows = imported(tmp_path, write_npz, table | {"utterance": given} | changes)
        assert "alphabet" not in message and rows is not None


@pytest.mark.parametrize(
    "names", [["d_utt1", "d_utt0", "d_utt2"], ["s_M001", "s_F000", "s_M000"], ["2.mp4", "1.mp4", "3.mp4"]]
)
def test_names_whose_numbers_do_not_rise_are_listed(tmp_path, names):
    given = np.array([f"{dialogue}{name}" for dialogue in "abc" for name in names])  # of a table that was shuffled
    table = {"dialogue": np.repeat(["a", "b", "c"], 3), "split": np.repeat(["train", "dev", "test"], 3)}
    for changes, listed in (({}, True), ({"position": np.tile([1, 0, 2], 3)}, False)):
        message, rows = imported(tmp_path, write_npz, table | {"utterance": given} | changes)
        assert ("that do not rise; first: utterance: in 3 dialogue(s), first a" in message) == listed
        assert rows is not None


@pytest.mark.parametrize(
    "names", [["_spk2_0", "_spk1_0", "_spk2_1"], ["[8.5-9.25]", "[9.5-9.75]", "[10.25-12.5]"], ["_u9.mp4", "_u10.mp4"]]
)
def test_names_with_numbers_of_speakers_or_times_are_in_order(tmp_path, names):
    dialogue = np.repeat(["a", "b", "c"], len(names))
    given = np.array([f"{dialogue}{name}" for dialogue in "abc" for name in names])
    table = {name: column[: len(given)] for name, column in made.table().items()}
    table |= {"split": np.repeat(["train", "dev", "test"], len(names)), "dialogue": dialogue, "utterance": given}
    np.savez(tmp_path / "table.npz", **table)
    options = ["--corpus=mine", f"--features={tmp_path}"]
    assert CliRunner().invoke(main, ["import", str(tmp_path / "table.npz"), *options]).exit_code == 0
    assert "do not rise" not in (tmp_path / "mine/problems.csv").read_text()


def test_problems_of_names_are_listed_once(tmp_path):
    imported(tmp_path, write_npz, {"utterance": None})
    listed = (tmp_path / "mine/problems.csv").read_text().splitlines()
    assert len(listed) == len(set(listed)) > 1


def test_missing_labels_as_spreadsheets_and_databases_write_them(tmp_path):
    spellings = ["(null)", "<null>", "n.a", "#VALUE!", "#REF!", "N\\A", "not applicable", "joy", "anger"]
    message, rows = imported(tmp_path, write_npz, {"emotion": np.array(spellings)})
    assert rows.classes == ("anger", "joy") and (rows.emotion == -1).sum() == 7, message


def test_ids_of_dialogues_come_before_a_column_called_dialogue(tmp_path):
    ids = [f"d{row // 2}" for row in range(6)]
    columns = {"dialogue": [f"words {row}" for row in range(6)], "dialogue_id": ids, "emotion": ["joy", "anger"] * 3}
    np.savez(tmp_path / "x.npz", text=np.eye(6), split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2, **columns)
    result = CliRunner().invoke(main, ["import", str(tmp_path / "x.npz"), "--corpus=x", f"--features={tmp_path}"])
    assert result.exit_code == 0 and sorted(read_corpus(tmp_path / "x").utterances.dialogue_id) == ids
