"""HDF5 files of others: nothing outside the file is read, and a small file neither fills the memory nor takes long."""

import contextlib
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.store.closed import open_hdf5
from dferc.store.hdf5 import read_corpus
from tests.helpers.common import REPOSITORY, write_features_folder
from tests.helpers.hostile_files import SMALL

SECRET = b"the password is hunter2, and more"


def _external(file: h5py.File, name: str, secret: Path) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape=shape, dtype="f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def _external_link(file: h5py.File, name: str, secret: Path) -> None:
    file.copy(name, "copy")
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        file.copy("copy", other, name=name)
    del file[name], file["copy"]
    file[name] = h5py.ExternalLink(str(secret.with_suffix(".h5")), name)


def _virtual(file: h5py.File, name: str, secret: Path) -> None:
    values = file[name][()]
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other[name] = values
    layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), name, shape=values.shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def _soft_link(file: h5py.File, name: str, secret: Path) -> None:
    file.move(name, "elsewhere")
    file[name] = h5py.SoftLink("/elsewhere")


def _through_a_group(file: h5py.File, name: str, secret: Path) -> None:
    file.move(name, "deep/er/values")
    _external_link(file, "deep/er/values", secret)
    file[name] = h5py.SoftLink("/deep/er/values")


WAYS_OUT = {
    _external: "its values lie in another file",
    _external_link: "is a link to",
    _virtual: "its values lie in another file",
    _soft_link: "is a link to /elsewhere",
    _through_a_group: "is a link to",
}


def test_features_are_read_where_they_cannot_be_locked(tmp_path):
    """As on NFS without its lock daemon, where HDF5 fails with `No locks available`."""
    folder = write_features_folder(tmp_path / "demo")
    with contextlib.ExitStack() as held:
        for path in folder.glob("*.h5"):
            fcntl.flock(held.enter_context(open(path)), fcntl.LOCK_EX)
        assert len(read_corpus(folder).utterances)


@pytest.mark.parametrize("locking", [None, False])
def test_features_are_read_while_a_notebook_holds_them_open(tmp_path, locking):
    folder = write_features_folder(tmp_path / "demo")
    with contextlib.ExitStack() as held:
        for path in folder.glob("*.h5"):
            held.enter_context(h5py.File(path, "r", locking=locking))
        assert len(read_corpus(folder).utterances)


@pytest.mark.parametrize("way", WAYS_OUT)
def test_what_points_out_of_a_features_folder_is_refused(tmp_path, way):
    folder = write_features_folder(tmp_path / "demo")
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET * 1000)
    with h5py.File(folder / "text.h5", "a") as file:
        way(file, "features", secret)

    with pytest.raises(InputError) as error:
        read_corpus(folder)

    message = str(error.value)
    assert f"{folder}/text.h5" in message and WAYS_OUT[way] in message and "Only values in the file itself" in message
    result = CliRunner().invoke(main, ["inspect", str(folder)])
    assert result.exit_code == 1 and "hunter2" not in result.output


@pytest.mark.parametrize("way", WAYS_OUT)
def test_what_points_out_of_an_imported_file_is_refused(tmp_path, way):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET * 1000)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["dialogue"], file["emotion"], file["split"] = [1, 2, 3], [0, 1, 0], ["train", "dev", "test"]
        file["text"] = np.ones((3, 4), "f4")
        way(file, "text", secret)

    arguments = ["import", str(tmp_path / "mine.h5"), "--corpus=mine", f"--features={tmp_path}"]
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 1 and WAYS_OUT[way] in " ".join(result.stderr.split())
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("name", ["text.h5", "utterances.h5"])
def test_a_pipe_in_a_features_folder_is_refused_at_once(tmp_path, name):
    folder = write_features_folder(tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)

    with pytest.raises(InputError, match="is a named pipe; expected a regular file"):
        read_corpus(folder)


ATTRIBUTES = [["text", "audio"], np.zeros((2, 2)), h5py.Empty("f4"), np.zeros(1, dtype=[("a", "i4")])[0]]


@pytest.mark.parametrize("attribute", ["schema", "kind", "corpus", "width", "identity"])
@pytest.mark.parametrize("value", ATTRIBUTES, ids=["texts", "array", "empty", "compound"])
def test_an_attribute_of_another_type_is_refused(tmp_path, attribute, value):
    folder = write_features_folder(tmp_path)
    with h5py.File(folder / "text.h5", "a") as file:
        file.attrs[attribute] = value

    with pytest.raises(InputError, match=f"text.h5: its attribute {attribute} "):
        read_corpus(folder)


def test_an_object_reference_as_an_attribute_is_refused(tmp_path):
    folder = write_features_folder(tmp_path)
    with h5py.File(folder / "text.h5", "a") as file:
        file.attrs["corpus"] = file.ref

    with pytest.raises(InputError, match="its attribute corpus is a Reference"):
        read_corpus(folder)


def test_text_that_is_not_utf8_is_refused_with_its_row(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("speaker", data=[b"Ann", b"B\xf8b"], dtype=h5py.string_dtype())

    with (
        open_hdf5(tmp_path / "x.h5") as opened,
        pytest.raises(InputError, match="x.h5, speaker, row 1: its text is not"),
    ):
        opened.read("speaker")


@pytest.mark.parametrize("options", [{}, {"chunks": (500,)}, {"chunks": (7,), "compression": 4}])
@pytest.mark.parametrize("dtype", [h5py.string_dtype(), h5py.string_dtype(length=40)])
def test_texts_come_back_in_every_layout(tmp_path, options, dtype):
    texts = [f"naïve {'日本' * (row % 5)} {row}" for row in range(500)]
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
        file.create_dataset("text", data=[text.encode() for text in texts], dtype=dtype, **options)

    with open_hdf5(tmp_path / "x.h5") as opened:
        assert opened.texts("text").tolist() == texts


@pytest.mark.parametrize(
    "options", [{"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True, "compression": 4}]
)
def test_usual_compression_is_read(tmp_path, options):
    values = np.random.default_rng(0).normal(size=(3000, 50)).astype("f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("text", data=values, **options)

    with open_hdf5(tmp_path / "x.h5") as opened:
        np.testing.assert_array_equal(opened.read("text"), values)


_MEASURE = textwrap.dedent("""
    import resource, sys, time
    from pathlib import Path
    from dferc.core.errors import InputError
    from dferc.importing.file_types import read_source
    import dferc.importing.join
    resource.setrlimit(resource.RLIMIT_AS, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MORE, -1))
    for path in sorted(Path(sys.argv[1]).iterdir()):
        before = time.process_time()
        try:
            outcome = read_source(path, "mean").about.layout
        except InputError as error:
            outcome = str(error)
        seconds, start = time.process_time() - before, outcome[:200].replace("\\n", " ")
        print(path.name, round(seconds, 2), len(outcome), start, sep="\\t")
""")


def test_small_hostile_files_take_little_memory_and_time(tmp_path):
    """No file below 1.3 MB may take more than 2 s or 300 MB; address space counts, which is more than memory."""
    for write in SMALL:
        write(tmp_path / write.__name__)
    code = _MEASURE.replace("MORE", str(300 << 20))
    # Libraries map their code after the limit is measured: 400 MB of address space that is no memory of the file's.
    code = code.replace("ru_maxrss * 1024", "ru_maxrss * 1024 + (400 << 20)")
    run = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    assert [name for name, *_ in lines] == sorted(write.__name__ for write in SMALL)
    for name, seconds, length, outcome in lines:
        assert float(seconds) < 2 and int(length) < 3000, (name, seconds, length)
        assert str(tmp_path / name) in outcome or name == "many_members", (name, outcome)
        assert (tmp_path / name).stat().st_size < 1.3e6, name


def test_inspect_of_a_giant_features_folder_is_a_message(tmp_path):
    folder = write_features_folder(tmp_path)
    with h5py.File(folder / "text.h5", "a") as file:
        del file["features"]
        file.create_dataset("features", shape=(1 << 17, 1 << 12), dtype="f4", chunks=(1 << 10, 1 << 10), compression=9)

    result = CliRunner().invoke(main, ["inspect", str(folder)])

    assert result.exit_code == 1 and "text.h5, features: 131072 rows in a file of" in " ".join(result.stderr.split())


@pytest.mark.parametrize("present", [True, False])
def test_wide_features_of_a_small_file_take_little_memory(tmp_path, present):
    """Sound features of zeros, read as `inspect` and `train` read them, take hardly more than they hold."""
    folder = write_features_folder(tmp_path)
    with h5py.File(folder / "text.h5", "a") as file:
        count = len(file["utterance_id"])
        width = (40 << 20) // 4 // count
        del file["features"]
        file.create_dataset("features", shape=(count, width), dtype="f4", chunks=(1, width), compression=9)
        file["features"][:, :3000] = np.random.default_rng(0).normal(size=(count, 3000)) * present
        file["present"][...], file.attrs["width"] = present, width
        file["filling"] = np.random.default_rng(0).normal(size=120_000)
    code = textwrap.dedent("""
        import sys, tracemalloc
        from dferc.store.hdf5 import read_corpus
        tracemalloc.start()
        read_corpus(sys.argv[1])
        print(tracemalloc.get_traced_memory()[1] >> 20)
    """)
    run = subprocess.run([sys.executable, "-c", code, folder], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0 and int(run.stdout) < 60, run


def test_chunk_that_hdf5_would_hold_several_times_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("text", data=np.zeros((2, 2 << 20), "f4"), chunks=(2, 2 << 20), compression=9)
    with open_hdf5(tmp_path / "x.h5") as opened, pytest.raises(InputError, match="a chunk of 16 MiB in a file of"):
        opened.read("text")
