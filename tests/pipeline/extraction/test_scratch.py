"""The scratch cache: kept is kept, damage is noticed, and nothing wrong comes back."""

import multiprocessing
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from dferc.core.errors import InputError
from pipeline.extraction.records import Record
from pipeline.extraction.scratch import Scratch, key_of

RECORD = Record({"features": np.array([1.5, -0.0, np.float32(1e-42)], np.float32), "share": np.float32(0.25)}, "ü: why")


def assert_same(found, expected):
    assert found.problem == expected.problem and found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == array.dtype and found.arrays[name].tobytes() == array.tobytes()


def put_and_be_killed(path, count):
    scratch = Scratch(path)
    for number in range(count):
        scratch.put(str(number), RECORD)
    os.kill(os.getpid(), signal.SIGKILL)


def put_many(path, name):
    with Scratch(path) as scratch:
        for number in range(100):
            scratch.put(f"{name}-{number}", RECORD)


def test_scratch_returns_what_was_put_to_the_bit(tmp_path):
    path = tmp_path / "deep" / "scratch.sqlite"
    with Scratch(path) as scratch:
        scratch.put("a", RECORD)
        scratch.put("b", Record(problem="no face"))
        assert_same(scratch.get("a"), RECORD)
    with Scratch(path) as scratch:
        assert_same(scratch.get("a"), RECORD)
        assert_same(scratch.get("b"), Record(problem="no face"))
        assert scratch.get("c") is None


def test_scratch_replaces_a_record(tmp_path):
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        scratch.put("a", RECORD)
        scratch.put("a", Record(problem="again"))
        assert scratch.get("a").problem == "again"


def test_scratch_loses_nothing_to_a_kill(tmp_path):
    path = tmp_path / "scratch.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=put_and_be_killed, args=(path, 200))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with Scratch(path) as scratch:
        assert all(scratch.get(str(number)) for number in range(200))


def test_scratch_takes_several_writers_at_once(tmp_path):
    path = tmp_path / "scratch.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=put_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    with Scratch(path) as scratch:
        assert all(scratch.get(f"{name}-{number}") for name in "ab" for number in range(100))


def test_scratch_is_begun_by_several_at_once(tmp_path):
    """Each round a new file: SQLite lets only one at a time turn it into a shared one, and does not wait."""
    together = threading.Barrier(8)

    def begin(path):
        together.wait()
        with Scratch(path):
            return True

    with ThreadPoolExecutor(8) as pool:
        for number in range(30):
            assert all(pool.map(begin, [tmp_path / f"{number}.sqlite"] * 8))


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_scratch_moves_a_damaged_file_aside(tmp_path, capfd, damage):
    path = tmp_path / "scratch.sqlite"
    with Scratch(path) as scratch:
        for number in range(500):
            scratch.put(str(number), Record({"features": np.full(1000, number, np.float32)}))
    content = bytearray(path.read_bytes())
    first = 0 if damage == "header" else 8192
    content[first : first + 200_000] = os.urandom(200_000)
    path.write_bytes(content)
    with Scratch(path) as scratch:
        records = {number: scratch.get(str(number)) for number in range(500)}
        assert all((record.arrays["features"] == number).all() for number, record in records.items() if record)
        scratch.put("new", RECORD)
        assert_same(scratch.get("new"), RECORD)
    assert "damaged" in capfd.readouterr().err
    assert [other.name for other in tmp_path.glob("*.damaged-*")]


def test_scratch_ignores_a_damaged_record(tmp_path):
    path = tmp_path / "scratch.sqlite"
    with Scratch(path) as scratch:
        scratch.put("a", RECORD)
        scratch.put("b", RECORD)
    database = sqlite3.connect(path)
    with database:
        [[content]] = database.execute("SELECT content FROM records WHERE key = 'a'").fetchall()
        flipped = bytearray(content)
        flipped[content.index(RECORD.arrays["features"].tobytes())] ^= 1
        database.execute("UPDATE records SET content = ? WHERE key = 'a'", (bytes(flipped),))
    database.close()
    with Scratch(path) as scratch:
        assert scratch.get("a") is None and scratch.get("b")


def test_scratch_never_unpickles(tmp_path):
    path = tmp_path / "scratch.sqlite"
    with Scratch(path) as scratch:
        scratch.put("a", Record({"features": np.array([{"any": "object"}], dtype=object)}))
        assert scratch.get("a") is None


def test_scratch_says_where_it_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="scratch.sqlite: the scratch cache cannot be opened"):
        Scratch(tmp_path / "file" / "scratch.sqlite")


def test_scratch_forgets_the_oldest_above_its_bound(tmp_path):
    path = tmp_path / "scratch.sqlite"
    with Scratch(path, bound_bytes=200_000) as scratch:
        for number in range(100):
            scratch.put(str(number), Record({"features": np.zeros(1000, np.float32)}))
    with Scratch(path, bound_bytes=10**9) as scratch:
        assert [number for number in range(100) if scratch.get(str(number))] == list(range(50, 100))


def test_media_hash_is_of_the_content_and_notices_a_change(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"abc")
    other.write_bytes(b"abc")
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        first = scratch.media_hash(one)
        assert first == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2's example
        assert scratch.media_hash(other) == first
        one.write_bytes(b"abd")
        os.utime(one, ns=(0, 0))
        assert scratch.media_hash(one) != first


def test_media_hash_is_remembered(tmp_path, monkeypatch):
    clip = tmp_path / "clip"
    clip.write_bytes(b"abc")
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        first = scratch.media_hash(clip)
    monkeypatch.setattr("pipeline.extraction.scratch.file_hash", lambda path: "read again")
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        assert scratch.media_hash(clip) == first


def test_key_depends_on_every_part_and_no_order_of_keys():
    base = key_of({"a": 1, "b": 2}, "content", 0.5)
    assert base == key_of({"b": 2, "a": 1}, "content", 0.5)
    assert len({base, key_of({"a": 1, "b": 3}, "content", 0.5), key_of({"a": 1, "b": 2}, "content", 0.6)}) == 3


def test_media_hash_notices_another_content_of_equal_size_and_date(tmp_path):
    """As `rsync -a`, `unzip` and tools that keep times leave it."""
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"one")
    status = clip.stat()
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        first = scratch.media_hash(clip)
        clip.write_bytes(b"two")
        os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert scratch.media_hash(clip) != first


@pytest.mark.parametrize("stated", [{"st_ino": (1 << 64) - 5}, {"st_mtime_ns": 13_569_465_600 * 10**9}])
def test_media_hash_takes_every_inode_and_date(tmp_path, monkeypatch, stated):
    """As mergerfs and other file systems in user space number files, and wrong clocks date them."""
    clip = tmp_path / "clip"
    clip.write_bytes(b"abc")
    status = {name: getattr(clip.stat(), name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")}
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        first = scratch.media_hash(clip)
        monkeypatch.setattr(type(clip), "stat", lambda path: SimpleNamespace(**status | stated))
        clip.write_bytes(b"abd")
        assert scratch.media_hash(clip) != first
        assert scratch.media_hash(clip) == scratch.media_hash(clip)
