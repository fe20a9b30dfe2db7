"""Only regular files are read, and files are whole or unchanged, whatever interrupts a write."""

import os
import socket
import time
from pathlib import Path

import pytest

from dferc.core import files
from dferc.core.errors import InputError


def test_interrupted_write_leaves_the_old_file_and_no_part(tmp_path):
    (tmp_path / "metrics.json").write_text("old")

    def interrupted(temporary):
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "metrics.json", interrupted)

    assert (tmp_path / "metrics.json").read_text() == "old" and os.listdir(tmp_path) == ["metrics.json"]


def test_write_removes_what_a_killed_write_of_the_same_file_left(tmp_path):
    names = (".text.h5.old.part", ".text.h5.now.part", ".audio.h5.old.part")
    for name in names:
        (tmp_path / name).write_bytes(b"half")
        age_s = 2 * files.STALE_S if "old" in name else 0
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    files.write_atomically(tmp_path / "text.h5", lambda temporary: temporary.write_bytes(b"whole"))
    assert {path.name for path in tmp_path.iterdir()} == {"text.h5", *names[1:]}


def test_verify_writable_makes_nothing(tmp_path):
    files.verify_writable(tmp_path / "a/b")
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(InputError, match="could not be written"):
        files.write_atomically(tmp_path / "file" / "text.h5", lambda temporary: temporary.write_bytes(b""))


def test_file_hash_is_the_contents_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")

    assert files.file_hash(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_regular_file_is_returned_also_behind_a_link(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")

    assert files.regular_file(str(tmp_path / "file")) == tmp_path / "file"
    assert files.regular_file(tmp_path / "link").read_bytes() == b"abc"


@pytest.mark.parametrize(
    "name, found", [("pipe", "named pipe"), ("null", "device"), ("sock", "socket"), ("", "folder")]
)
def test_what_is_no_regular_file_is_refused_by_name_and_not_opened(tmp_path, name, found):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))

    with pytest.raises(InputError, match=f"is a {found}; expected a regular file") as error:
        files.regular_file(tmp_path / name)

    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("name", ["missing.npz", "a\0b", "x" * 300])
def test_a_path_without_a_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a file"):
        files.regular_file(tmp_path / name)


PLACES = ["/dev/null", "/dev/full", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/2", "/dev/new.csv"]


@pytest.mark.parametrize("name", PLACES)
def test_device_is_refused(name):
    with pytest.raises(InputError, match="nothing was written"):
        files.refuse_device(name)  # never a write: a fault would replace the machine's own


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / "table.csv")
    before = os.lstat(tmp_path / "table.csv")
    with pytest.raises(InputError, match="nothing was written"):
        files.write_atomically(tmp_path / "table.csv", lambda temporary: temporary.write_bytes(b"table"))
    assert os.lstat(tmp_path / "table.csv") == before and os.listdir(tmp_path) == ["table.csv"]


def test_shared_memory_is_a_folder_like_any_other(tmp_path):
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("no /dev/shm")
    path = folder / f"dferc-{os.getpid()}.csv"
    files.write_atomically(path, lambda temporary: temporary.write_bytes(b"table"))
    assert path.read_bytes() == b"table"
    path.unlink()


def test_link_is_replaced_and_the_file_behind_it_is_kept(tmp_path):
    """DVC links outputs into its cache, which must never change."""
    (tmp_path / "cache").write_text("old")
    (tmp_path / "table.csv").symlink_to(tmp_path / "cache")
    files.write_atomically(tmp_path / "table.csv", lambda temporary: temporary.write_text("new"))
    assert (tmp_path / "cache").read_text() == "old" and (tmp_path / "table.csv").read_text() == "new"


def test_user_without_a_home_is_told_to_name_a_cache(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        files.user_cache()
