"""The feature store: values survive writing and reading, broken files are refused, a failing write changes nothing."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from dferc.core import files
from dferc.core.errors import InputError
from dferc.store import hdf5 as store
from dferc.store.rows import Note
from tests.helpers.common import REPOSITORY, make_features, make_utterances, write_features_folder

# ---------------------------------------------------------------------------------------------------- what is written


def test_utterances_come_back_as_they_were(tmp_path):
    rows = make_utterances(unlabelled=("test",))
    rows = dataclasses.replace(rows, text=np.array(["“naïve” 日本\n"] * len(rows), dtype=object))
    rows.start_s[0] = rows.end_s[0] = np.nan
    rows = dataclasses.replace(
        rows,
        media_group=np.arange(len(rows)) - 1,
        speaker_independent=True,
        notes=(Note(action="dropped", what="turns of “xxx”", count=2507, why="undecided"),),
    )

    store.write_utterances(tmp_path / "utterances.h5", rows)
    read = store.read_utterances(tmp_path / "utterances.h5")

    for name in (field.name for field in dataclasses.fields(rows)):
        np.testing.assert_array_equal(getattr(read, name), getattr(rows, name), err_msg=name)
    assert read.rows_hash == rows.rows_hash


def test_utterances_from_before_the_protocol_card_are_read(tmp_path):
    store.write_utterances(tmp_path / "utterances.h5", make_utterances())
    with h5py.File(tmp_path / "utterances.h5", "r+") as file:
        del file["notes"], file.attrs["speaker_independent"]

    read = store.read_utterances(tmp_path / "utterances.h5")
    assert (read.notes, read.media_group, read.speaker_independent) == ((), None, False)


def test_more_notes_than_an_attribute_holds_come_back(tmp_path):
    notes = tuple(Note(action="kept", what="x" * 100, count=number, why="y" * 100) for number in range(500))
    store.write_utterances(tmp_path / "utterances.h5", dataclasses.replace(make_utterances(), notes=notes))

    assert store.read_utterances(tmp_path / "utterances.h5").notes == notes


def test_damaged_note_is_refused_with_its_file(tmp_path):
    store.write_utterances(tmp_path / "utterances.h5", make_utterances())
    with h5py.File(tmp_path / "utterances.h5", "r+") as file:
        del file["notes"]
        file["notes"] = ['{"action": "forgot", "what": "a", "count": 1, "why": "b"}']

    with pytest.raises(InputError, match="utterances.h5: note 'forgot', count 1 .*expected one of dropped, promoted"):
        store.read_utterances(tmp_path / "utterances.h5")


def test_features_come_back_as_they_were(tmp_path):
    made = dataclasses.replace(
        make_features(make_utterances(), "audio", 3),
        names=("pitch", "Lautstärke", "jitter"),
        quality={"share": np.linspace(0, 1, len(make_utterances()), dtype=np.float32)},
        identity={"rows_hash": "0", "extractor": "prüf", "settings": {"b": [1, 2], "a": None}},
    )

    store.write_features(tmp_path / "audio.h5", made)
    read = store.read_features(tmp_path / "audio.h5", "audio")

    np.testing.assert_array_equal(read.features, made.features)
    np.testing.assert_array_equal(read.present, made.present)
    np.testing.assert_array_equal(read.utterance_id, made.utterance_id)
    np.testing.assert_array_equal(read.quality["share"], made.quality["share"])
    assert (read.names, read.identity, read.width, read.corpus) == (made.names, made.identity, 3, "demo")


def test_schema_is_the_documented_one(tmp_path):
    write_features_folder(tmp_path)

    with h5py.File(tmp_path / "utterances.h5") as file:
        columns = {name: dataset.dtype for name, dataset in file.items()}
        strings = {"utterance_id", "dialogue_id", "speaker", "split", "text", "classes"}
        numbers = {"position": "int64", "emotion": "int64", "start_s": "float64", "end_s": "float64"}
        assert set(columns) == strings | set(numbers) | {"notes"}
        assert all(columns[name] == dtype for name, dtype in numbers.items())
        assert all(h5py.check_string_dtype(columns[name]).encoding == "utf-8" for name in strings)
        assert set(file.attrs) == {"schema", "kind", "corpus", "protocol", "rows_hash", "speaker_independent"}
    with h5py.File(tmp_path / "text.h5") as file:
        assert file["features"].dtype == np.float32 and file["present"].dtype == bool
        assert set(file.attrs) == {"schema", "kind", "corpus", "width", "identity", "rows", "rows_present"}
        assert file.attrs["rows"] == len(file["present"]) and file.attrs["rows_present"] == file["present"][()].sum()


def test_same_rows_give_the_same_bytes_in_another_process_later(tmp_path):
    write_features_folder(tmp_path / "here")
    script = (
        "import sys, time; from pathlib import Path; from tests.helpers.common import write_features_folder; "
        "time.sleep(1.1); write_features_folder(Path(sys.argv[1]))"  # HDF5 would stamp seconds
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "there"], cwd=REPOSITORY, check=True)

    for name in ("utterances.h5", "text.h5", "audio.h5", "visual.h5"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


def test_identity_gives_the_same_bytes_in_any_order_of_its_keys(tmp_path):
    made = make_features(make_utterances(), "text", 2)
    for name, identity in {"one": {"a": 1, "b": 2}, "two": {"b": 2, "a": 1}}.items():
        store.write_features(tmp_path / name, dataclasses.replace(made, identity=identity))

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_lengths_and_hashes_follow_the_rows():
    rows = make_utterances(dialogues={"train": 3})
    other_id = dataclasses.replace(rows, utterance_id=rows.utterance_id + "x")
    joined = dataclasses.replace(
        rows, dialogue_id=np.full(len(rows), "one", dtype=object), position=np.arange(len(rows))
    )

    assert rows.lengths.tolist() == [1, 2, 3]
    assert len({rows.rows_hash, other_id.rows_hash, joined.rows_hash}) == 3


def test_speaker_order_is_that_of_first_appearance_in_each_dialogue():
    """Dialogues of 1, 2 and 3 utterances; the same person has another number in another dialogue."""
    rows = make_utterances(dialogues={"train": 3})
    rows = dataclasses.replace(rows, speaker=np.array(["Bo", "Al", "Bo", "Bo", "", "Al"], dtype=object))

    assert rows.speaker_order.tolist() == [0, 0, 1, 0, -1, 1]
    assert rows.speaker_order.dtype == np.int64


def test_corpus_with_one_modality_is_read(tmp_path):
    write_features_folder(tmp_path, widths={"audio": 4})

    assert list(store.read_corpus(tmp_path).modalities) == ["audio"]


# ---------------------------------------------------------------------------------------------------- contradictions


def _swapped(rows, column, values):
    changed = getattr(rows, column).copy()
    for row, value in values.items():
        changed[row] = value
    return {column: changed}


# The rows of three training dialogues of 1, 2 and 3 utterances: row 0 | 1 2 | 3 4 5.
@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("utterance_id", {1: "train-0-0"}, "duplicate utterance ids: train-0-0"),
        ("dialogue_id", {4: "train-0"}, "not contiguous"),
        ("position", {2: 0}, "positions must rise within a dialogue; they do not at train-1-1"),
        ("split", {5: "test"}, "the dialogue train-2 lies in two splits"),
        ("split", {0: "dev"}, "unknown split(s) 'dev'; expected train, validation, test"),
        ("emotion", {0: 3}, "train-0-0: class id 3, expected -1 to 2"),
        ("emotion", {0: -2}, "train-0-0: class id -2"),
        ("end_s", {3: -0.5}, "train-2-0 ends at -0.5 s, before its start 0.0 s"),
    ],
)
def test_contradicting_rows_are_refused(column, values, message):
    rows = make_utterances(dialogues={"train": 3})

    with pytest.raises(InputError, match=re.escape(message)):
        dataclasses.replace(rows, **_swapped(rows, column, values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.zeros(5, dtype=np.int64)}, "columns of different lengths: utterance_id (6,), {"),
        ({"emotion": np.zeros(6)}, "columns of another type than int64"),
        ({"classes": ("joy", "joy", "anger")}, "duplicate classes: joy, joy, anger"),
        ({"classes": ("joy", "a\nb", "anger")}, "the class 'a\\nb' is empty, or has a line break or a control"),
        ({"classes": ("joy", " ", "anger")}, "the class ' ' is empty, or has a line break or a control character"),
        ({"media_group": np.zeros(5, dtype=np.int64)}, "media_group is int64 of shape (5,); expected int64 of (6,)"),
        ({"media_group": np.zeros(6)}, "media_group is float64 of shape (6,)"),
    ],
)
def test_columns_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        dataclasses.replace(make_utterances(dialogues={"train": 3}), **change)


def test_no_rows_are_refused():
    rows = make_utterances(dialogues={"train": 1})
    none = {
        field.name: getattr(rows, field.name)[:0]
        for field in dataclasses.fields(rows)
        if isinstance(getattr(rows, field.name), np.ndarray)
    }

    with pytest.raises(InputError, match="no utterances at all"):
        dataclasses.replace(rows, **none)


def _features(**changes):
    return dataclasses.replace(make_features(make_utterances(dialogues={"train": 3}), "text", 2, absent=0), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "Touch!"}, "'Touch!' is no name of a modality: expected lower-case letters"),
        ({"features": np.zeros((5, 2), np.float32)}, "text: 6 utterance ids, features of shape (5, 2)"),
        ({"features": np.zeros(6, np.float32)}, "expected [N, D] and [N]"),
        ({"features": np.zeros((6, 0), np.float32)}, "features of shape (6, 0), present of (6,); expected [N, D]"),
        ({"present": np.ones(7, bool)}, "present of (7,)"),
        ({"features": np.zeros((6, 2))}, "features are float64, present bool; expected float32, bool"),
        ({"present": np.ones(6, np.int8)}, "present int8"),
        ({"features": np.full((6, 2), np.nan, np.float32)}, "text: 6 present utterance(s) have values that are not"),
        ({"features": np.full((6, 2), np.inf, np.float32)}, "first 'train-0-0'; mark them not present"),
        ({"present": np.zeros(6, bool)}, "'train-0-0' is not present but has values; expected zeros"),
        ({"features": np.full((6, 2), np.nan, np.float32), "present": np.zeros(6, bool)}, "not present but has values"),
        ({"names": ("one",)}, "text: 1 feature names for width 2"),
        ({"quality": {"share": np.zeros(5)}}, "quality columns of shape {'share': (5,)}; expected (6,)"),
    ],
)
def test_contradicting_features_are_refused(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        _features(**changes)


def test_utterances_that_are_not_present_hold_zeros():
    made = _features(features=np.zeros((6, 2), np.float32), present=np.zeros(6, bool))

    assert made.width == 2 and not made.features.any()


# ---------------------------------------------------------------------------------------------------- bad files


def _readers(folder):
    yield folder / "utterances.h5", store.read_utterances
    yield folder / "text.h5", lambda path: store.read_features(path, "text")


def test_file_truncated_at_any_length_is_refused(tmp_path):
    write_features_folder(tmp_path, widths={"text": 8})
    for path, read in _readers(tmp_path):
        whole = path.read_bytes()
        lengths = {0, 1, 7, 8, 9, 95, 96, len(whole) - 1, *range(0, len(whole), len(whole) // 60)}
        for length in sorted(lengths):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=re.escape(str(path))):
                read(path)


def test_file_of_something_else_is_refused(tmp_path):
    for path, read in _readers(tmp_path):
        with pytest.raises(InputError, match="is missing. Make it with `python -m pipeline"):
            read(path)
        path.write_bytes(b"utterance_id,emotion\n" * 500)
        with pytest.raises(InputError, match="is not a readable HDF5 file"):
            read(path)
        path.unlink()
        path.mkdir()
        with pytest.raises(InputError, match="is a folder; expected a regular file"):
            read(path)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("schema", 99, "expected schema 1 of kind 'text', found schema 99 of kind 'text'"),
        ("kind", "audio", "expected schema 1 of kind 'text', found schema 1 of kind 'audio'"),
        ("width", 9, "features of shape (48, 8), but the attribute width is 9"),
        ("identity", "{", "is damaged or of another layout"),
        ("identity", "[1]", "its identity is [1]"),
    ],
)
def test_features_with_another_attribute_are_refused(tmp_path, attribute, value, message):
    path = write_features_folder(tmp_path, widths={"text": 8}, dialogues={"train": 15}) / "text.h5"
    with h5py.File(path, "a") as file:
        file.attrs[attribute] = value

    with pytest.raises(InputError, match=re.escape(message)):
        store.read_features(path, "text")


@pytest.mark.parametrize("attribute", ["schema", "kind", "corpus", "width", "identity"])
def test_features_without_an_attribute_are_refused(tmp_path, attribute):
    path = write_features_folder(tmp_path) / "text.h5"
    with h5py.File(path, "a") as file:
        del file.attrs[attribute]

    with pytest.raises(InputError, match=re.escape(str(path))):
        store.read_features(path, "text")


def _replace(file, name, value):
    del file[name]
    if value is not None:
        file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("features", None, "is damaged or of another layout"),
        ("features", np.zeros((48, 8)), "features are float64"),
        ("features", np.zeros((48, 8, 1), np.float32), "features of shape (48, 8, 1)"),
        ("present", np.ones(3, bool), "present of (3,)"),
        ("utterance_id", np.arange(48), "is damaged or of another layout"),
    ],
)
def test_features_with_another_dataset_are_refused(tmp_path, name, value, message):
    path = write_features_folder(tmp_path, widths={"text": 8}, dialogues={"train": 15}) / "text.h5"
    with h5py.File(path, "a") as file:
        _replace(file, name, value)

    with pytest.raises(InputError, match=re.escape(str(path)) + ".*" + re.escape(message)):
        store.read_features(path, "text")


@pytest.mark.parametrize("kind", ["features", "quality"])
def test_group_in_the_place_of_a_dataset_and_back_is_refused(tmp_path, kind):
    path = write_features_folder(tmp_path) / "text.h5"
    with h5py.File(path, "a") as file:
        if kind == "features":
            del file["features"]
            file.create_group("features")
        else:
            file["quality"] = 3

    with pytest.raises(InputError, match="is damaged or of another layout"):
        store.read_features(path, "text")


def test_utterances_with_swapped_ids_are_refused(tmp_path):
    path = write_features_folder(tmp_path) / "utterances.h5"
    with h5py.File(path, "a") as file:
        file["utterance_id"][:2] = file["utterance_id"][:2][::-1]

    with pytest.raises(InputError, match="its rows are not those it was written with"):
        store.read_utterances(path)


def test_utterances_with_a_column_of_another_type_are_refused(tmp_path):
    path = write_features_folder(tmp_path) / "utterances.h5"
    with h5py.File(path, "a") as file:
        _replace(file, "emotion", file["emotion"][()].astype(np.float64))

    with pytest.raises(InputError, match="columns of another type than int64"):
        store.read_utterances(path)


# ---------------------------------------------------------------------------------------------------- what belongs


def _folder_with(tmp_path, **other):
    """Return a features folder whose text.h5 comes from another one."""
    folder = write_features_folder(tmp_path / "folder", widths={"text": 4, "audio": 4})
    theirs = write_features_folder(tmp_path / "other", widths={"text": 4}, **other)
    os.replace(theirs / "text.h5", folder / "text.h5")
    return folder


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"corpus": "meld"}, "is of the corpus 'meld', its utterances.h5 of 'demo'. Make it again: `dvc repro"),
        ({"dialogues": {"train": 3}}, "has 6 rows, its utterances.h5 72."),
        ({"dialogues": {"validation": 12, "train": 5, "test": 5}}, "row 0: 'validation-0-0', expected 'train-0-0'"),
    ],
)
def test_features_of_other_rows_are_refused(tmp_path, other, message):
    with pytest.raises(InputError, match=re.escape(message)):
        store.read_corpus(_folder_with(tmp_path, **other))


def test_features_made_for_other_dialogues_are_refused(tmp_path):
    folder = write_features_folder(tmp_path, widths={"text": 4})
    with h5py.File(folder / "text.h5", "a") as file:
        file.attrs["identity"] = json.dumps({"rows_hash": "0123456789abcdef"})

    with pytest.raises(InputError, match="was made for another utterance list \\(0123456789abcdef, here"):
        store.read_corpus(folder)


@pytest.mark.parametrize(
    ("modality", "column", "refused"),
    [("text", "text", True), ("text", "start_s", False), ("audio", "end_s", True), ("audio", "text", False)],
)
def test_features_of_other_texts_or_times_than_those_of_now_are_refused(tmp_path, modality, column, refused):
    rows = make_utterances()
    made = make_features(rows, modality, 4)
    made = dataclasses.replace(made, identity={**made.identity, "content_hash": rows.content_hash(modality)})
    store.write_features(tmp_path / f"{modality}.h5", made)
    changed = dataclasses.replace(rows, **{column: getattr(rows, column) + (" more" if column == "text" else 0.2)})
    store.write_utterances(tmp_path / "utterances.h5", changed)
    if refused:
        with pytest.raises(InputError, match="which was made again since. Make it again"):
            store.read_corpus(tmp_path)
    else:
        store.read_corpus(tmp_path)


def test_folder_without_features_is_refused(tmp_path):
    write_features_folder(tmp_path, widths={})

    with pytest.raises(InputError, match="none of text.h5, audio.h5, visual.h5"):
        store.read_corpus(tmp_path)


# ---------------------------------------------------------------------------------------------------- failing writes


def _write(path: Path, seed: int = 0, width: int = 400):
    store.write_features(path, make_features(make_utterances(), "text", width, seed=seed))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch, call):
    _write(tmp_path / "text.h5")
    old = (tmp_path / "text.h5").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(InputError, match=r"text\.h5 could not be written .*No space left.*Is the disk full\?"):
        _write(tmp_path / "text.h5", seed=1)

    assert (tmp_path / "text.h5").read_bytes() == old
    assert os.listdir(tmp_path) == ["text.h5"]


_FULL_DISK = """
import resource, sys
from pathlib import Path
from dferc.core.errors import InputError
from tests.helpers.common import make_features, make_utterances
from dferc.core import files
from dferc.store import hdf5 as store

path, limits = Path(sys.argv[1]), [int(limit) for limit in sys.argv[2:]]
made = make_features(make_utterances(), "text", 400, seed=1)
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.write_features(path, made)
    except InputError as error:
        assert "Is the disk full?" in str(error), error
    else:
        sys.exit(f"no error at {limit} bytes")
"""


def test_full_disk_at_any_byte_leaves_the_old_file(tmp_path):
    """HDF5 writing to the disk itself would crash the process here (seen: segmentation fault on closing)."""
    path = tmp_path / "text.h5"
    _write(path)
    old = path.read_bytes()
    limits = [0, 1, 100, 2000, *range(4096, len(old), len(old) // 10), len(old) - 1]

    run = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, path, *map(str, limits)], cwd=REPOSITORY, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["text.h5"]


_KILLED = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from tests.helpers.common import make_features, make_utterances
    from dferc.core import files
    from dferc.store import hdf5 as store

    moment = sys.argv[2]
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    real = files.os.replace
    if moment == "in the middle":
        store.Path.write_bytes = lambda path, data: (open(path, "wb", 0).write(data[: len(data) // 2]), die())
    elif moment == "before the rename":
        files.os.replace = die
    else:
        files.os.replace = lambda *paths: (real(*paths), die())
    store.write_features(Path(sys.argv[1]), make_features(make_utterances(), "text", 400, seed=1))
""")


@pytest.mark.parametrize("moment", ["in the middle", "before the rename", "after the rename"])
def test_sigkill_leaves_the_old_file_or_the_whole_new_one(tmp_path, moment):
    _write(tmp_path / "text.h5")
    _write(tmp_path / "new.h5", seed=1)
    old, new = (tmp_path / "text.h5").read_bytes(), (tmp_path / "new.h5").read_bytes()

    run = subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "text.h5", moment], cwd=REPOSITORY)

    assert run.returncode == -signal.SIGKILL
    assert (tmp_path / "text.h5").read_bytes() == (new if moment == "after the rename" else old)
    _write(tmp_path / "text.h5", seed=1)  # what the kill left behind is in nobody's way
    assert (tmp_path / "text.h5").read_bytes() == new


def test_written_file_is_readable_by_others(tmp_path):
    _write(tmp_path / "text.h5")

    assert (tmp_path / "text.h5").stat().st_mode & 0o777 == 0o644
