"""`dferc import` of what is wrong: every message says which file, where, what was found and what was expected."""

import errno
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from tests.helpers import feature_files as made

MELD_10 = f"{made.MMGCN} other"


def run_import(tmp_path: Path, *arguments: object):
    return CliRunner().invoke(main, ["import", *map(str, arguments), f"--features={tmp_path / 'features'}"])


def refused(tmp_path: Path, *arguments: object) -> str:
    """Return the message; nothing may have been written."""
    result = run_import(tmp_path, *arguments)
    assert result.exit_code == 1 and result.stderr.startswith("error:"), result.output
    assert result.stdout == "" and not list(tmp_path.glob("features/*/*"))
    return " ".join(result.stderr.split())


def meld(tmp_path: Path, change=lambda parts: None) -> Path:
    """Write a MELD 10-tuple, changed."""
    parts = made.layout("meld", MELD_10)
    change(parts)
    (tmp_path / "meld.pkl").write_bytes(made.dump_python2(tuple(parts)))
    return tmp_path / "meld.pkl"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "has 0 bytes; expected a pickle"),
        (
            b"Sr No.,Utterance,Speaker\r\n1,hello,Ann\r\n",
            ". It begins with the text 'Sr No.,Utterance,Speaker'; expected a pickle, .npz, HDF5",
        ),
        (b"# settings\n", "begins with the text '# settings'"),
        (b"%PDF-1.7 not features", "is a PDF; expected a pickle"),
        (b"\x1f\x8b\x08\x00gzipped", "is compressed with gzip; expected a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of git LFS"),
        (b"\x93NUMPY\x01\x00", "is not a readable .npy (truncated?)"),
        (b"PK\x03\x04 cut", "is not a readable .npz"),
        (b"\x89HDF\r\n\x1a\ncut", "is not readable HDF5"),
        (b"PAR1cut", "is not readable Parquet"),
    ],
)
def test_wrong_file_is_named(tmp_path, data, expected):
    (tmp_path / "features.pkl").write_bytes(data)
    message = refused(tmp_path, tmp_path / "features.pkl")
    assert "features.pkl" in message and expected in message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_pickle_is_refused(tmp_path, share):
    file = meld(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    assert f"meld.pkl: the file ends after {len(file.read_bytes())} bytes" in refused(tmp_path, file)


def test_unknown_layout_says_what_was_found_and_what_is_known(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(({"a": [1]}, {"a": ["b"]}, 3)))
    message = refused(tmp_path, tmp_path / "x.pkl")
    assert "found a tuple of 3: numbers, texts, else" in message
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(7))
    assert "found an int." in refused(tmp_path, tmp_path / "x.pkl")
    assert "13-tuple of SDT" in message and ".npz" in message


def test_layout_of_a_corpus_with_other_dialogues_is_refused(tmp_path):
    parts = made.content("cosmic-iemocap-10")  # COSMIC's EmoryNLP list has the same parts
    parts = [{f"scene{key}": rows for key, rows in part.items()} for part in parts[:7]] + parts[7:]
    (tmp_path / "emory.pkl").write_bytes(made.dump_python2(parts))
    assert "dialogues such as sceneSes01F_impro01" in refused(tmp_path, tmp_path / "emory.pkl")


CHANGES = {
    "width": (
        lambda parts: parts[4][1040].__setitem__(1, np.zeros(7, "f4")),
        "audio of dialogue dev_1, utterance 1: 7 values, expected 5",
    ),
    "no vector": (
        lambda parts: parts[5][61].__setitem__(2, np.zeros((2, 4), "f4")),
        "visual of dialogue train_61, utterance 2: found an array (2, 4) of float32, expected one vector of 4",
    ),
    "label": (lambda parts: parts[2][1153].__setitem__(0, 7), "dialogue test_0, utterance 0: the label is 7; expected"),
    "negative label": (lambda parts: parts[2][0].__setitem__(1, -1), "dialogue train_0, utterance 1: the label is -1"),
    "speaker": (lambda parts: parts[1][0].__setitem__(1, [1.0, 1.0]), "utterance 1: the speaker is a list of 2"),
    "lengths": (lambda parts: parts[3][59].pop(), "dialogue train_59: 2 utterances in labels, 1 in text"),
    "missing": (
        lambda parts: parts[3].pop(59),
        "labels has 8 dialogues, text 7; the first that only one has is train_59",
    ),
    "two splits": (lambda parts: parts[8].append(0), "the dialogue train_0 is in two splits, train and test"),
    "not there": (
        lambda parts: parts[7].append(777),
        "1 dialogue(s) of its split lists are not in its data, first train_777",
    ),
    "number": (lambda parts: [part.__setitem__(1433, part[0]) for part in parts[:7]], "there is a dialogue 1433"),
    "strayed": (
        lambda parts: (parts[7].append(1153), parts[8].remove(1153)),
        "its lists put the dialogue test_0 into train, against MELD's numbering",
    ),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_faulty_pickle_is_refused_with_its_place(tmp_path, fault):
    change, expected = CHANGES[fault]
    message = refused(tmp_path, meld(tmp_path, change))
    assert "meld.pkl" in message and expected in message


@pytest.mark.parametrize("mark", ["a\0b", "a\ud800"])
@pytest.mark.parametrize(("part", "column"), [(1, "speaker"), (6, "text")])
def test_text_of_a_pickle_that_no_file_can_hold_is_refused_with_its_place(tmp_path, mark, part, column):
    parts = made.layout("meld", MELD_10)
    parts[1] = {key: ["Ann"] * len(rows) for key, rows in parts[1].items()}
    parts[part][61][2] = mark
    (tmp_path / "meld.pkl").write_bytes(pickle.dumps(tuple(parts)))
    message = refused(tmp_path, tmp_path / "meld.pkl")
    assert f"meld.pkl, dialogue 'train_61', utterance 2: the {column} holds" in message
    assert ("a NUL character" if "\0" in mark else "half of a character") in message


def test_files_of_different_corpora_are_refused(tmp_path):
    iemocap = made.write_layout(tmp_path / "iemocap.pkl", "iemocap-9")
    message = refused(tmp_path, f"--text={meld(tmp_path)}", f"--audio={iemocap}")
    assert "iemocap.pkl is of iemocap" in message and "meld.pkl of meld" in message


def test_file_without_a_common_dialogue_is_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", **made.table())
    np.savez(tmp_path / "other.npz", dialogue=np.array(["x", "y"]), visual=np.ones((2, 3)))
    message = refused(tmp_path, tmp_path / "mine.npz", tmp_path / "other.npz", "--corpus=mine")
    assert "other.npz: its visual fits no dialogue of" in message


def test_other_order_of_utterances_is_refused(tmp_path):
    def reverse(parts):
        for part in parts[:7]:
            for rows in part.values():
                rows.reverse()

    other = meld(tmp_path, reverse).rename(tmp_path / "other.pkl")
    file = meld(tmp_path)
    message = refused(tmp_path, f"--text={file}", f"--audio={other}", f"--visual={file}")
    assert "other.pkl" in message and "labels are not those of" in message and "another order" in message


def test_modality_in_two_files_must_be_chosen(tmp_path):
    files = [made.write_layout(tmp_path / name, "meld-10") for name in ("a.pkl", "b.pkl")]
    assert "Choose one with --set text=FILE" in refused(tmp_path, *files)


def test_features_without_labels_are_refused(tmp_path):
    files = made.write_multiemo(tmp_path)[1:]
    assert "none has labels and splits" in refused(tmp_path, *files)
    assert "none has labels and splits" in refused(tmp_path, *made.write_mmin(tmp_path).values())


def test_file_given_for_a_modality_must_have_it(tmp_path):
    file = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-meld-11")
    other = made.write_layout(tmp_path / "raw.pkl", "meld-9")
    message = refused(tmp_path, f"--text={file}", f"--visual={other}")
    assert "raw.pkl: given for visual, and has text, audio" in message


def test_frames_without_the_utterances_of_the_labels_are_refused(tmp_path):
    cosmic = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-iemocap-10")  # it names dialogues, no utterances
    audio = made.write_mmin(tmp_path)["audio"]
    message = refused(tmp_path, cosmic, f"--audio={audio}")
    assert "comparE.h5: names none of the utterances of" in message and "--ids" in message
    names = [name for ids in made.parts("iemocap")["ids"].values() for name in ids]
    (tmp_path / "ids.txt").write_text("\n".join(names))
    assert run_import(tmp_path, cosmic, f"--audio={audio}", f"--ids={tmp_path / 'ids.txt'}").exit_code == 0


def test_faulty_frames_are_refused_with_their_utterance(tmp_path):
    labels = made.write_layout(tmp_path / "mmgcn.pkl", "iemocap-9")
    audio = made.write_mmin(tmp_path)["audio"]
    with h5py.File(audio, "a") as file:
        del file["Ses01F_impro01_M001"]
        file["Ses01F_impro01_M001"] = np.ones((2, 99))
    assert "comparE.h5, Ses01F_impro01_M001: frames of 99 values, expected 130" in refused(tmp_path, labels, audio)
    with h5py.File(audio, "a") as file:
        del file["Ses01F_impro01_M001"]
        file["Ses01F_impro01_M001"] = 5
    assert "comparE.h5, Ses01F_impro01_M001: no frames [T, D]" in refused(tmp_path, labels, audio)
    with h5py.File(tmp_path / "comparE_mean_std.h5", "w") as file:
        file["1/mean"] = np.ones(130)
    assert "no datasets at its top, only '1' (1 in it)." in refused(tmp_path, labels, tmp_path / "comparE_mean_std.h5")


CSV = "Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n1,Hi,Ann,joy,0,0\n"
TRANSCRIPTS = {
    "renamed": (CSV.replace("Emotion", "Emotions"), "no column Emotion; found Sr No., Utterance, Speaker, Emotions"),
    "empty": ("", "no column Utterance, Speaker, Emotion, Dialogue_ID, Utterance_ID; found an empty file"),
    "cut off": (CSV.replace(",0,0", ""), "line 2: fewer fields than the header has"),
    "more": (CSV.replace(",0,0", ",0,0,9"), "line 2: more fields than the header has"),
    "twice": (CSV.replace("Sr No.", "Speaker"), "columns of one name: Speaker, Utterance, Speaker"),
    "quote": (
        CSV + '2,"Hi,Ann,joy,0,1\n3,Ho",Ann,joy,0,2\n',
        "line 4: a field holds line breaks and 5 separators, as if a quote is not closed",
    ),
    "label": (CSV.replace("joy", "glee"), "line 2: dialogue '0', utterance '0', emotion 'glee'; expected"),
}


@pytest.mark.parametrize("fault", TRANSCRIPTS)
def test_faulty_transcripts_are_refused_with_their_place(tmp_path, fault):
    content, expected = TRANSCRIPTS[fault]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}_sent_emo.csv").write_text(CSV if name == "train" else content)
    message = refused(tmp_path, meld(tmp_path), f"--transcripts={tmp_path}")
    assert "dev_sent_emo.csv" in message and expected in message


def test_unnamed_features_must_be_named(tmp_path):
    speakers = made.write_layout(tmp_path / "Speakers.pkl", "meld-10")
    features = {key: np.ones((n, 33)) for key, n in made.MELD.items()}
    (tmp_path / "mystery.pkl").write_bytes(pickle.dumps(features))
    assert "does not say which" in refused(tmp_path, speakers, tmp_path / "mystery.pkl")
    result = run_import(tmp_path, speakers, f"--visual={tmp_path / 'mystery.pkl'}")
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "features/meld/visual.h5") as file:
        assert file["features"].shape[1] == 33


def test_features_that_are_there_are_not_overwritten(tmp_path):
    file = meld(tmp_path)
    assert run_import(tmp_path, file).exit_code == 0
    before = (tmp_path / "features/meld/text.h5").read_bytes()
    result = run_import(tmp_path, file)
    assert result.exit_code == 1 and "`--replace`" in result.stderr
    assert run_import(tmp_path, file, "--replace").exit_code == 0
    assert (tmp_path / "features/meld/text.h5").read_bytes() == before  # the same input gives the same bytes


@pytest.mark.parametrize("code, remedy", [(errno.ENOSPC, "Is the disk full?"), (errno.EROFS, "may you write there?")])
@pytest.mark.parametrize("moment", [1, 2, 4, 5])
def test_failing_write_at_any_file_changes_nothing_as_it_says(tmp_path, monkeypatch, moment, code, remedy):
    file = meld(tmp_path)
    assert run_import(tmp_path, file).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("features/**/*") if path.is_file()}
    calls, real = [], os.replace

    def replace(source, target):
        calls.append(target)
        if len(calls) == moment:
            raise OSError(code, os.strerror(code))
        real(source, target)

    monkeypatch.setattr("dferc.core.files.os.replace", replace)
    meld(tmp_path, lambda parts: parts[3][0].__setitem__(0, np.ones(6, "f4")))
    result = run_import(tmp_path, file, "--replace")

    assert result.exit_code == 1 and "nothing was changed" in result.stderr and remedy in result.stderr
    assert ("disk full" in result.stderr) == (code == errno.ENOSPC)
    assert {path: path.read_bytes() for path in tmp_path.rglob("features/**/*") if path.is_file()} == before


def test_import_after_prepare_needs_no_replace(tmp_path):
    assert run_import(tmp_path, meld(tmp_path)).exit_code == 0
    for name in ("text.h5", "audio.h5", "visual.h5", "problems.csv"):
        (tmp_path / "features/meld" / name).unlink()
    assert run_import(tmp_path, meld(tmp_path)).exit_code == 0


@pytest.mark.parametrize("option", ["", "--audio=", "--ids="])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path, option):
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        arguments = [meld(tmp_path), f"{option}{path}"]
        assert f"{path} is {found}; expected a regular file" in refused(tmp_path, *arguments)


def test_no_file_is_a_usage_error(tmp_path):
    assert run_import(tmp_path).exit_code == 2


# ---------------------------------------------------------------------------------------------------- tables

TABLES = {
    "no dialogues": ({"dialogue": None}, "no column `dialogue`; found"),
    "no features": ({"text": None, "audio": None}, "no features [N, D] under `text`"),
    "lengths": ({"audio": np.ones((8, 2))}, "columns have different lengths"),
    "split": ({"split": np.array(["train"] * 8 + ["hold"])}, "row 8: the split is 'hold'; expected train, dev"),
    "case": ({"TEXT": np.ones((9, 3))}, "columns whose names differ in case only: TEXT, audio"),
    "words": ({"text": np.array([["a"] * 3] * 9)}, "expected numbers [N, D]"),
    "two splits": (
        {"dialogue": np.array(["a"] * 9)},
        "row 6: the dialogue a is in validation, and from row 0 in train",
    ),
}


@pytest.mark.parametrize("fault", TABLES)
def test_faulty_table_is_refused_with_its_place(tmp_path, fault):
    change, expected = TABLES[fault]
    columns = {name: column for name, column in (made.table() | change).items() if column is not None}
    np.savez(tmp_path / "mine.npz", **columns)
    message = refused(tmp_path, tmp_path / "mine.npz", "--corpus=mine")
    assert "mine.npz" in message and expected in message


@pytest.mark.parametrize("label", [7, -2])
def test_label_out_of_range_names_its_row(tmp_path, label):
    columns = made.table() | {"emotion": np.array([0, 1, 2, 0, label, 1, 1, 0, 2])}
    np.savez(tmp_path / "mine.npz", **columns)
    message = refused(tmp_path, tmp_path / "mine.npz", "--corpus=mine", "--classes=joy,anger,fear")
    assert f"row 4: the label is {label}; expected one of joy, anger, fear (or its number, 0 to 2)" in message
    assert f"numbers are {min(label, 0)} to {max(label, 2)}: --classes must name a class for each" in message


@pytest.mark.parametrize("how", ["--classes=joy,fear", "--corpus=meld"])
def test_label_without_a_class_says_which_labels_there_are(tmp_path, how):
    columns = made.table() | {"emotion": np.array(["joy", "anger", "", "joy", "rage", "joy", "joy", "anger", "joy"])}
    np.savez(tmp_path / "mine.npz", **columns)
    message = refused(tmp_path, tmp_path / "mine.npz", *dict.fromkeys(("--corpus=mine", how)))
    assert ("row 1 and 1 more: the label is 'anger'" if "fear" in how else "row 4: the label is 'rage'") in message
    assert message.endswith("Its labels are anger, joy, rage: correct them, or name all of them in --classes.")


def test_numbers_kept_as_floats_are_whole_numbers_and_nan_is_no_label(tmp_path):
    emotion = np.array([0, 1, np.nan, 0, 1, 1, 1, 0, 1])  # as pandas keeps them beside a missing one
    columns = made.table() | {"emotion": emotion, "dialogue": made.table()["dialogue"].astype(float)}
    np.savez(tmp_path / "mine.npz", **columns)
    result = run_import(tmp_path, tmp_path / "mine.npz", "--corpus=mine", "--classes=joy,anger")
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "features/mine/utterances.h5") as file:
        assert file["emotion"][()].tolist() == [0, 1, -1, 0, 1, 1, 1, 0, 1]
        assert file["dialogue_id"].asstr()[0] == "train_0"
    np.savez(tmp_path / "half.npz", **columns | {"dialogue": np.arange(9) / 2})
    assert "row 1: dialogue is 0.5, of an array (9,) of float64; expected names" in " ".join(
        run_import(tmp_path, tmp_path / "half.npz", "--corpus=half").stderr.split()
    )


def test_features_of_ours_need_no_import(tmp_path):
    assert run_import(tmp_path, meld(tmp_path)).exit_code == 0
    (tmp_path / "features").rename(tmp_path / "before")
    message = refused(tmp_path, tmp_path / "before/meld/text.h5")
    assert "text.h5 is of a features folder already (text)" in message


def test_damaged_features_of_an_import_are_to_be_imported_again(tmp_path):
    assert run_import(tmp_path, meld(tmp_path)).exit_code == 0
    audio = tmp_path / "features/meld/audio.h5"
    audio.write_bytes(audio.read_bytes()[:3000])
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "features/meld")])
    assert result.exit_code == 1 and "`dferc import FILE… --replace`" in result.stderr
    assert "extract_audio" not in result.stderr


def test_corpus_without_a_name_is_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", **made.table())
    assert "name it with --corpus" in refused(tmp_path, tmp_path / "mine.npz")


def test_zip_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("model/a.csv", b"a,b")
    message = refused(tmp_path, tmp_path / "model.zip")
    assert "model.zip is a zip of something else than .npy ('model/a.csv'); expected a pickle" in message
    assert "Unpack it" in message


def test_inflated_npz_is_refused_before_it_is_read(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", text=np.zeros((1 << 14, 1 << 12)))  # 512 MiB in 0.5 MB
    assert "would fill 512 MiB" in refused(tmp_path, tmp_path / "bomb.npz")


def test_npz_of_objects_cannot_run_anything(tmp_path):
    class Call:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "evil.npz", **made.table(), extra=np.array([Call()], dtype=object))
    message = refused(tmp_path, tmp_path / "evil.npz", "--corpus=mine")
    assert "it names _io.open" in message or "it names io.open" in message
    assert not (tmp_path / "ran").exists()


def test_parquet_without_pyarrow_says_what_to_install(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None; from dferc.cli.main import main; "
        f"main(['import', {str(tmp_path / 'x.parquet')!r}, '--corpus=mine'])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 1 and "pip install '.[parquet]'" in found.stderr


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a b", "2024"])
def test_corpus_that_is_no_plain_name_is_refused_and_writes_nothing(tmp_path, name):
    source = tmp_path / "any.pkl"
    source.write_bytes(b"\x80\x02}.")
    (tmp_path / "features").mkdir()
    result = CliRunner().invoke(
        main, ["import", str(source), "--corpus", name, "--features", str(tmp_path / "features")]
    )
    assert result.exit_code == 2 and "is no name of a corpus" in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["any.pkl", "features"]
