"""Files that are not imported are named for what they are, whatever their suffix, with their keys and a remedy."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import time
import zipfile
import zlib

import h5py
import joblib
import numpy as np
import pyarrow
import pytest
import scipy.io
import torch
from safetensors.numpy import save as save_tensors

from dferc.core.errors import InputError
from dferc.importing.file_types import read_source
from dferc.importing.readers.foreign import describe_refused
from tests.helpers.feature_files import dump_python2

VALUES = {"text": np.ones((24, 8), "f4"), "names": ["a", "b"]}


def _saved(save) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def _torch(**options) -> bytes:
    content = {"text": torch.ones(24, 8), "emotion": torch.zeros(24, dtype=torch.int64), "name": "x"}
    return _saved(lambda file: torch.save(content, file, **options))


def _matlab73() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512) as made:
        made["features"] = np.ones((74, 24))  # as MATLAB writes [24, 74]
        made["#refs#/a"] = [1]
    return b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + file.getvalue()[512:]


def _tar() -> bytes:
    def save(file):
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"))

    return _saved(save)


def _zip(name: str) -> bytes:
    def save(file):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "x")

    return _saved(save)


def _arrow() -> bytes:
    table = pyarrow.table({"emotion": ["joy"]})

    def save(file):
        with pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)

    return _saved(save)


class Frame:
    """A class of another library, whose objects stand in a pickle."""

    def __init__(self):
        self.columns, self.values = ["a", "b"], np.ones((3, 2))


OPENFACE = "frame, face_id, timestamp, confidence, success, gaze_0_x, gaze_0_y, AU01_r\n1, 0, 0.0, 0.9, 1, 0, 0, 0\n"
ARFF = "% openSMILE\n@relation emotions\n@attribute name string\n@attribute pcm_loudness numeric\n@data\n'a',1\n"
PICKLED = pickle.dumps(VALUES)
FILES = {
    "joblib": (_saved(lambda f: joblib.dump(VALUES, f)), ("joblib", "'text' (array (24, 8))")),
    "joblib zlib": (_saved(lambda f: joblib.dump(VALUES, f, compress=3)), ("zlib", "joblib", "'text' (array (24, 8))")),
    "joblib gzip": (_saved(lambda f: joblib.dump(VALUES, f, compress=("gzip", 3))), ("gzip", "'text' (array (24, 8))")),
    "joblib xz": (_saved(lambda f: joblib.dump(VALUES, f, compress=("xz", 3))), ("xz", "'text' (array (24, 8))")),
    "torch": (_torch(), ("a PyTorch file", "'text' (array (24, 8))", "'emotion' (array (24,))", "torch.load")),
    "torch legacy": (_torch(_use_new_zipfile_serialization=False), ("a PyTorch file", "'text' (array (24, 8))")),
    "tensors in a pickle": (pickle.dumps({"text": torch.ones(24, 8)}), ("it names torch.", "'text' (array (24, 8))")),
    "objects in a pickle": (pickle.dumps({"a": Frame(), "b": 1}), ("it names", "Frame", "'b' (int)")),
    "gzip": (gzip.compress(PICKLED), ("compressed with gzip, a pickle inside", "'text' (array (24, 8))", "Unpack it")),
    "bzip2": (bz2.compress(PICKLED), ("compressed with bzip2, a pickle inside", "'text' (array (24, 8))")),
    "xz": (lzma.compress(PICKLED), ("compressed with xz, a pickle inside", "'text' (array (24, 8))")),
    "zlib": (zlib.compress(PICKLED), ("compressed with zlib, a pickle inside", "'text' (array (24, 8))")),
    "tar": (_tar(), ("a tar archive", "Unpack it")),
    "tar.gz": (gzip.compress(_tar()), ("gzip, a tar archive inside", "Unpack it")),
    "zip": (_zip("a/train.csv"), ("a zip of something else than .npy", "'a/train.csv'", "Unpack it")),
    "docx": (_zip("[Content_Types].xml"), ("an Office document",)),
    "npy": (_saved(lambda f: np.save(f, np.ones((24, 8)))), ("a .npy: one array (24, 8) of float64", "numpy.savez")),
    "MATLAB 5": (_saved(lambda f: scipy.io.savemat(f, {"x": np.ones((9, 4))})), ("MATLAB 5", "x (9, 4)", "loadmat")),
    "MATLAB 5 compressed": (
        _saved(lambda f: scipy.io.savemat(f, {"x": np.ones((9, 4))}, do_compression=True)), ("MATLAB 5", "x (9, 4)")
    ),
    "MATLAB 7.3": (_matlab73(), ("MATLAB 7.3", "features (24, 74)", "transposed")),
    "safetensors": (save_tensors({"emotion": np.zeros(24), "text": np.ones((24, 8))}),
                    ("a safetensors file with 'emotion' (24,), 'text' (24, 8)", "no column `dialogue`")),
    "ARFF": (ARFF.encode(), ("an ARFF file", "the attributes name, pcm_loudness", "scipy.io.arff")),
    "OpenFace": (OPENFACE.encode(), ("a CSV of OpenFace", "gaze_0_x", "Average the frames")),
    "OpenFace in UTF-16": (OPENFACE.encode("utf-16"), ("a CSV of OpenFace", "gaze_0_x")),
    "COVAREP": (b"F0,VUV,NAQ,QOQ,H1H2\n1,0,0,0,0\n", ("COVAREP", "F0, VUV, NAQ")),
    "openSMILE CSV": (b"name;frameTime;F0\n'a';0;1\n", ("openSMILE", "name, frameTime, F0")),
    "Kaldi ark": (b"utt1 \0BFM \4\2\0\0\0\4\2\0\0\0" + bytes(16), ("a Kaldi archive", "kaldiio")),
    "Kaldi text": (b"utt1  [\n  1.0 2.0\n  3.0 4.0 ]\n", ("a Kaldi archive in text form",)),
    "Kaldi scp": (b"utt1 /data/raw.1.ark:12\n", ("a list of places in Kaldi archives",)),
    "JSON": (b'{"utt1": [1, 2], "utt2": [3, 4]}', ("JSON with the keys 'utt1', 'utt2'",)),
    "CSV": (b"\xef\xbb\xbfid,f1,f2\na,1,2\n", ("a text with the columns id, f1, f2",)),
    "web page": (b"<!DOCTYPE html><title>Sign in", ("a web page",)),
    "Feather": (b"ARROW1\0\0" + bytes(50), ("an Arrow (Feather) file", "to_parquet")),
    "Arrow stream": (_arrow(), ("an Arrow stream", "to_parquet")),
    "R": (gzip.compress(b"RDX3\nX\n\0\0\0\3" + bytes(60)), ("gzip, an R file inside", "write_parquet")),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ("an old Office document",)),
    "SPSS": (b"$FL2@(#) SPSS DATA FILE" + bytes(60), ("an SPSS file", "read_spss")),
    "Stata": (b"<stata_dta><header><release>118</release>" + bytes(60), ("a Stata file", "read_stata")),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(60), ("a picture (JPEG)",)),
    "MP4": (b"\0\0\0\x20ftypisom" + bytes(50), ("a video (MP4)",)),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", ("a pointer of git LFS", "git lfs pull")),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".npz"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_named_for_what_it_is_whatever_its_suffix(tmp_path, kind, suffix):
    data, facts = FILES[kind]
    path = tmp_path / f"features{suffix}"
    path.write_bytes(data)

    with pytest.raises(InputError) as error:
        read_source(path, "mean")

    message = str(error.value)
    assert str(path) in message and len(message) < 1500
    for fact in facts:
        assert fact in message, message


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_of_any_kind_is_a_message_too(tmp_path, kind):
    random = np.random.default_rng(0)
    data = np.frombuffer(FILES[kind][0], np.uint8)
    for _ in range(10):
        changed = data.copy()
        for place in random.integers(0, min(len(data), 600), 4):
            changed[place] = random.integers(0, 256)
        (tmp_path / "x").write_bytes(bytes(changed[: random.integers(1, len(data) + 1)]))
        try:
            read_source(tmp_path / "x", "mean")
        except InputError as error:
            assert len(str(error)) < 4000


def test_blank_lines_above_a_text_take_no_time(tmp_path):
    (tmp_path / "x.csv").write_text("\n" * 26 + "time,f0\n0,1\n")  # each two more took three times as long
    before = time.process_time()
    with pytest.raises(InputError, match="a text with the columns time, f0"):
        read_source(tmp_path / "x.csv", "mean")
    assert time.process_time() - before < 1
    (tmp_path / "x.arff").write_text("\n% by openSMILE\n\n%\n\n@relation x\n@attribute f0 numeric\n")
    with pytest.raises(InputError, match="an ARFF file .* with the attributes f0"):
        read_source(tmp_path / "x.arff", "mean")


def test_json_of_many_levels_is_refused_as_json(tmp_path):
    (tmp_path / "x.json").write_text("[" * 3000 + "]" * 3000)
    with pytest.raises(InputError, match="x.json is JSON; expected"):
        read_source(tmp_path / "x.json", "mean")


def test_nothing_of_a_described_pickle_is_imported_or_run(tmp_path):
    class Call:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for content in (Call(), {"a": Call(), "b": [Call()]}, Frame()):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
        words = describe_refused(tmp_path / "x.pkl")
        assert "open" in words or "Frame" in words
    assert not (tmp_path / "ran").exists()
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04\x8c\x0bantigravity\x8c\x03fly\x93.")
    assert describe_refused(tmp_path / "x.pkl") == " In it: antigravity.fly."


def test_a_dictionary_in_a_npy_of_objects_is_read_as_its_pickle(tmp_path):
    np.save(tmp_path / "x.npy", {"a": np.ones(4), "b": np.ones(4)}, allow_pickle=True)
    assert list(read_source(tmp_path / "x.npy", "mean").vectors["?"]) == ["a", "b"]
    np.save(tmp_path / "y.npy", {"a": [1], "c": "no"}, allow_pickle=True)
    with pytest.raises(
        InputError, match=r"y.npy: no known layout: found a dict of 2: 'a' \(a list of 1\), 'c' \(a str"
    ):
        read_source(tmp_path / "y.npy", "mean")


def test_keys_of_a_pickle_are_counted_not_all_printed(tmp_path):
    (tmp_path / "x.pkl").write_bytes(dump_python2({f"key{n}": [{}] for n in range(5000)}))
    with pytest.raises(InputError, match=r"'key19' \(a list of 1\), … \(5000 in all\)") as error:
        read_source(tmp_path / "x.pkl", "mean")
    assert len(str(error.value)) < 2000
