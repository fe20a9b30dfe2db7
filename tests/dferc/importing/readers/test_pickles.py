"""The restricted unpickler: it reads plain data of either Python, and refuses everything else without running it."""

import base64
import os
import pickle
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from dferc.importing.layouts import recognise
from dferc.importing.readers import pickles
from dferc.importing.readers.pickles import parse_pickle, read_pickle
from dferc.importing.source import About
from tests.helpers import feature_files as made
from tests.helpers.perturbations import COUNT

KEYS = st.one_of(st.integers(-(1 << 63), 1 << 63), st.text(max_size=5), st.booleans(), st.none())
VALUES = st.recursive(
    st.one_of(KEYS, st.floats(allow_nan=False), st.binary(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def refused(data: bytes, *parts: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_pickle(data, "file.pkl")
    for part in ("file.pkl: ", *parts):
        assert part in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- what is read


@given(values=st.lists(VALUES, min_size=40, max_size=40))
@settings(max_examples=3, deadline=None)
def test_plain_data_are_read_as_python_reads_them(values):
    for protocol in range(6):
        assert parse_pickle(pickle.dumps(values, protocol), "x") == values


def test_arrays_scalars_and_sets_are_read_as_python_reads_them():
    arrays = []
    for code in ("f4", ">f8", "f2", "i8", "u1", "?", "U3", "S2"):
        value = np.arange(24).reshape(2, 3, 4).astype(code)
        arrays += [value, np.asfortranarray(value), value[:0], np.array(value[0, 0, 1])]
    objects = np.array([["a", None], [[1.5] * 40, 2]], dtype=object)
    scalars = ({"a", 1}, frozenset({2}), np.float32(0.5), np.int64(-3), np.str_("é"), np.float16(2), np.array(">i2"))
    for protocol in range(6):
        found = parse_pickle(pickle.dumps([arrays, arrays[0], objects, scalars], protocol), "x")
        for array, expected in zip(found[0], arrays, strict=True):
            np.testing.assert_array_equal(array, expected, strict=True)
            assert not array.size or not array.flags.writeable
        assert found[1] is found[0][0]
        assert found[2].shape == (2, 2) and found[2][0].tolist() == ["a", None] and list(found[2][1, 0]) == [1.5] * 40
        assert found[3][:6] == ({"a", 1}, {2}, 0.5, -3, "é", 2.0)


def test_transposed_arrays_and_empty_texts_of_numpy_are_read():
    value = np.arange(24, dtype="f4").reshape(2, 3, 4)
    arrays = [
        value.transpose(1, 0, 2),
        value.transpose(2, 0, 1),
        value[:0].transpose(1, 0, 2),
        value.transpose(0, 2, 1),
    ]
    texts = [*np.array(["", "hi"]), *np.array([b"", b"hi"])]
    for protocol in range(6):
        found = parse_pickle(pickle.dumps([arrays, texts], protocol), "x")
        for array, expected in zip(found[0], arrays, strict=True):
            np.testing.assert_array_equal(array, expected, strict=True)
        assert found[1] == ["", "hi", b"", b"hi"]
    refused(pickle.dumps(np.zeros((0, 3)), 4).replace(b"f8", b"U0"), "an array whose type or shape is none")


def test_what_real_python_2_wrote_is_read():
    # Python 2.7.18 with numpy 1.16.6, cPickle protocol 2: ({0: [array([1.5, -2], 'f4')], 'd': ['I\x92m', u'\xe9']},
    # set(['d']), OrderedDict([('k', [0.25])]), np.float64(3.0), 2**40L)
    found = parse_pickle(base64.b64decode(PYTHON_2), "x")
    np.testing.assert_array_equal(found[0][0][0], np.array([1.5, -2], "f4"))
    assert found[0][b"d"] == [b"I\x92m", "é"]
    assert found[1:] == ({b"d"}, {b"k": [0.25]}, 3.0, 1 << 40)


PYTHON_2 = (
    "gAIofXEBKEsAXXECY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKcQNjbnVtcHkKbmRhcnJheQpxBEsAhVUBYodScQUoSwFLAo"
    "VjbnVtcHkKZHR5cGUKcQZVAmY0SwBLAYdScQcoSwNVATxOTk5K/////0r/////SwB0YolVCAAAwD8AAADAdGJhVQFkXXEIKFUDSZJtcQlYAgAA"
    "AMOpZXVjX19idWlsdGluX18Kc2V0CnEKXXELVQFkYYVScQxjY29sbGVjdGlvbnMKT3JkZXJlZERpY3QKcQ1dcQ5dcQ8oVQFrXXEQRz/QAAAAAA"
    "AAYWVhhVJxEWNudW1weS5jb3JlLm11bHRpYXJyYXkKc2NhbGFyCnESaAZVAmY4SwBLAYdScRMoSwNVATxOTk5K/////0r/////SwB0YlUIAAAA"
    "AAAACECGUnEUSTEwOTk1MTE2Mjc3NzYKdC4="
)


def test_long_lists_of_floats_come_as_float32_and_keep_every_value():
    random = np.random.default_rng(0)
    rows = [random.normal(size=count).astype(np.float32).tolist() for count in (1, 16, 17, 1000, 1001, 5000) * 9]
    rows += [[0.5] * 90_000 + ["text"], [0.5] * 20 + [1], [1] * 20]
    for protocol in (0, 2, 4):  # the file is larger than a window, so that lists are packed before they are complete
        found = parse_pickle(pickle.dumps([rows, [tuple(row) for row in rows], rows[3]], protocol), "x")
        assert [list(row) for row in found[0]] == [list(row) for row in found[1]] == rows and found[2] is found[0][3]
        assert all(
            isinstance(row, np.ndarray) == (len(row) > 16)
            for rows in found[:2]
            for row in rows
            if 0.5 not in row and 1 not in row
        )
        assert type(found[0][-1]) is list and found[0][-3][-1] == "text"


def test_file_is_read_as_its_bytes_and_pieces_larger_than_a_window_too(tmp_path):
    value = [np.arange(200_000.0), "é" * 300_000, b"x" * 300_000, np.array(["y" * 300_000], object)]
    for protocol in (0, 2, 4):
        (tmp_path / "file.pkl").write_bytes(pickle.dumps(value, protocol))
        found = read_pickle(tmp_path / "file.pkl")
        np.testing.assert_array_equal(found[0], value[0])
        assert found[1:3] == value[1:3] and found[3][0] == value[3][0]


# ---------------------------------------------------------------------------------------------------- what is refused


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


class Foreign(np.ndarray):
    """A class of its own that `_reconstruct` could be asked to make."""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "touch ran"), f"{os.system.__module__}.system"),
        (Calls(getattr, "x", "y"), "builtins.getattr"),
        (np.zeros(3).view(Foreign), "Foreign"),
        (Calls, "Calls"),
    ],
)
def test_any_other_name_is_refused_and_not_run(tmp_path, monkeypatch, value, name):
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 4):
        refused(pickle.dumps(value, protocol), name if protocol else name.replace("builtins", "__builtin__"))
    assert not (tmp_path / "ran").exists()


def array_of(shape: bytes, dtype: bytes = b"f4", data: bytes = b"U\x04\0\0\0\0") -> bytes:
    kind = b"cnumpy\ndtype\n(U" + bytes([len(dtype)]) + dtype + b"tR"
    made_of = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n)U\x01btR(K\x01"
    return made_of + shape + kind + b"\x89" + data + b"tb."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x02]", "the file ends after 3 bytes, inside the pickle: it is truncated"),
        (b"hello, world", "damaged, or not a pickle"),
        (b"N.N.", "2 bytes follow"),
        (b"(ios\nsystem\n.", "it names os.system"),  # an object of a class of Python 2
        (b"cnumpy\nndarray\n)\x81.", "not a pickle"),  # an object of an allowed name
        (b"cnumpy\nndarray\n.", "it holds numpy.ndarray, not data"),
        (b"P12\n.", "persistent id"),
        (b"\x8a\x0a" + b"\x01" * 10 + b".", "an integer of 73 bits; expected at most 64"),
        (b"}()Nu.", "a tuple as a key"),
        (b"]" * 50_000 + b"a" * 49_999 + b".", "nested more than 32 deep"),
        (b"]q\0h\0a.", "a container that holds itself"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nlist\n)U\x01btR.", "an array of the class"),
        (b"cnumpy\ndtype\n(U\x02V8tR.", "numpy type V8"),
        (array_of(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"), "needs 18446744056529682436 bytes; found 4"),
        (array_of(b"(K\x02t", b"O", b"]"), "needs 2 objects in a list; found 0"),
    ],
)
def test_damaged_or_hostile_bytes_are_refused(data, reason):
    refused(data, reason)


def laughs(levels: int = 25) -> bytes:
    """Each list holds the one before ten times: 10^25 strings for who takes them apart, prints or compares them."""
    data = b"(Vlol\np0\n" + b"g0\n" * 9 + b"lp1\n"
    for level in range(1, levels):
        data += b"0(" + b"g%d\n" % level * 10 + b"lp%d\n" % (level + 1)
    return data + b"."


def repeated_array(times: int = 400_000) -> bytes:
    """Return a feature file whose every utterance is the same array, by two bytes each."""
    array = pickle.dumps(np.ones(100_000, "f4"), 2)[2:-1]
    return b"\x80\x02}K\x00]" + array + b"q\xfa0(" + b"h\xfa" * times + b"es."


def repeated_bytes(times: int = 4_000) -> bytes:
    """Arrays that are all filled from the same bytes."""
    array = array_of(b"(J\x00\x00\x10\0t", b"S1", b"h\xfa")[:-1]
    return b"B\x00\x00\x10\x00" + bytes(1 << 20) + b"q\xfa0](" + array * times + b"e."


BOMBS = {
    "laughs": (laughs(), "no known layout"),
    "repeated array": (repeated_array(), "by reference"),
    "repeated bytes": (repeated_bytes(), "more memory"),
    "memo": (b"N" * 40 + b"r\xff\xff\xff\xff.", "more memory"),
    "sets": (b"(" + b"\x8f" * 1_500_000 + b"l.", "more memory"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_refused_within_two_seconds_and_500_mb(bomb):
    data, reason = BOMBS[bomb]
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=reason):
        recognise(parse_pickle(data, "file.pkl"), about(data), "mean")
    assert time.process_time() - started < 2
    for process in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        assert resource.getrusage(process).ru_maxrss - before < 440 << 10  # KiB; Python and numpy have 60 MB


def test_reading_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(pickles, "SPARE_SECONDS", 1)
    nested = b")" + b"q\0h\0\x86" * 60  # a tuple of 2^60 empty ones, of which a dictionary wants the hash
    refused(b"}" + nested + b"Ns.", "more than 1 s of the processor")


def about(data: bytes) -> About:
    return About(path="file.pkl", bytes=len(data), sha256="", git_blob="")


@pytest.mark.parametrize(
    "act",
    [
        "open('ran', 'w')",
        "os.remove('bait')",
        "os.system('touch ran')",
        "import socket",
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    ],
)
def test_process_that_reads_can_do_nothing_else(tmp_path, act):
    """The script itself, with the act where the unpickler would be: as if a pickle had got code to run."""
    (tmp_path / "bait").touch()
    script = Path(pickles.unpickler.__file__).read_text()
    acting = script.replace("        content = RestrictedUnpickler(streams).load()\n", f"        {act}\n")
    assert acting != script
    (tmp_path / "script.py").write_text(acting)
    command = [sys.executable, "-I", "-S", "script.py", str(1 << 28), "5", "1000"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, stdin=open("/dev/null"))
    assert b'{"refused": "reading it would cause ' in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bait", "script.py"]


# ---------------------------------------------------------------------------------------------------- fuzz


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Change, remove, repeat or insert a few bytes or stretches; opcodes and bytes of the file itself are likely."""
    made_of = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place, length = chance.randrange(len(made_of)), chance.choice((1, 1, 1, 4, 30))
        new = bytes(chance.choice((chance.randrange(256), chance.choice(data))) for _ in range(length))
        match chance.randrange(5):
            case 0:
                made_of[place] = new[0]
            case 1:
                del made_of[place : place + length]
            case 2:
                made_of[place:place] = new
            case 3:
                made_of[place:place] = made_of[(start := chance.randrange(len(made_of))) : start + length]
            case 4:
                del made_of[place + 1 :]
        made_of = made_of or bytearray(data)
    return bytes(made_of)


def only(parts: object, keys: tuple) -> tuple:
    """Return a layout's parts with these dialogues alone."""
    return tuple(
        {key: part[key] for key in keys if key in part}
        if isinstance(part, dict)
        else [key for key in part if key in keys]
        for part in parts
    )


@pytest.mark.slow
def test_mutated_pickles_are_read_or_refused_and_nothing_else():
    small = {"text": 20, "audio": 2, "visual": 2}
    few = {"meld-10": (0, 1039), "cosmic-iemocap-10": ("Ses01F_impro01", "Ses05F_impro01")}
    seeds = [made.dump_python2(only(made.content(name, **small), keys)) for name, keys in few.items()]
    parts = only(made.content("iemocap-9", **small), few["cosmic-iemocap-10"])
    floats = {key: [[float(value) for value in row] for row in rows] for key, rows in parts[3].items()}
    seeds += [pickle.dumps((*parts[:3], floats, *parts[4:]), protocol) for protocol in (0, 1, 4)]
    seeds += [pickle.dumps(({"a", 1}, np.array(["x", [1.5] * 20], object), np.float32(1)), p) for p in (2, 5)]
    chance, refusals = random.Random(0), 0
    for number in range(COUNT):
        data = mutate(seeds[number % len(seeds)], chance)
        try:
            recognise(parse_pickle(data, "file.pkl"), about(data), "mean")
        except InputError:
            refusals += 1
    assert 0.5 * COUNT < refusals < COUNT  # else it does not probe: nothing, or everything, is refused
