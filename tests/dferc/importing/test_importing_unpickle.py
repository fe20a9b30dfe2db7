"""The restricted unpickler: reads plain data of either Python, and refuses everything else without running it."""

import base64
import os
import pickle
import random
import re
import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from dferc.importing import machine
from dferc.importing.layouts import recognise
from dferc.importing.machine import BASE_OPERATIONS
from dferc.importing.rebuild import Floats, expand
from dferc.importing.source import About
from dferc.importing.unpickle import parse_pickle, read_pickle
from tests.helpers import feature_files as made

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
    for part in ("file.pkl, byte ", *parts):
        assert part in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("protocol", range(6))
@given(value=VALUES)
@settings(max_examples=60, deadline=None)
def test_plain_data_are_read_as_python_reads_them(protocol, value):
    assert parse_pickle(pickle.dumps(value, protocol), "x") == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", ["f4", ">f8", "f2", "i8", "u1", "?", "U3", "S2"])
def test_arrays_are_read_as_python_reads_them(protocol, code):
    value = np.arange(24).reshape(2, 3, 4).astype(code)
    for array in (value, np.asfortranarray(value), value[:0], np.array(value[0, 0, 1])):
        found = parse_pickle(pickle.dumps([array, array], protocol), "x")
        assert found[0] is found[1]  # the memo holds the array, not what stood there before its content came
        np.testing.assert_array_equal(found[0], array, strict=True)


@pytest.mark.parametrize("protocol", range(6))
def test_object_arrays_scalars_and_sets_are_read(protocol):
    value = ({"a", 1}, frozenset({2}), np.float32(0.5), np.int64(-3), np.str_("é"))
    assert parse_pickle(pickle.dumps(value, protocol), "x") == ({"a", 1}, {2}, 0.5, -3, "é")
    array = np.array([["a", None], [[1.5] * 40, 2]], dtype=object)
    found = parse_pickle(pickle.dumps(array, protocol), "x")
    assert found.shape == (2, 2) and found[0].tolist() == ["a", None] and expand(found[1, 0]) == [1.5] * 40


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


@pytest.mark.parametrize("count", [1, 15, 16, 17, 18, 999, 1000, 1001, 5000])
def test_runs_of_floats_keep_every_value(count):
    values = np.random.default_rng(0).normal(size=count).astype(np.float32).tolist()
    for protocol in (1, 2, 4):
        found = parse_pickle(pickle.dumps([values, tuple(values), 1], protocol), "x")
        assert expand(found[0]) == values and tuple(expand(found[1])) == tuple(values) and found[2] == 1
        runs = [item for item in found[0] if isinstance(item, Floats)]
        assert (count > 16) == bool(runs) and all(run.values.dtype == np.float32 for run in runs)


def test_floats_written_out_by_python_2_are_read_however_many():
    # Protocol 0, Python 2's default, writes each value on a line of its own: two operations in a few bytes.
    count = BASE_OPERATIONS * 4 // 5
    assert parse_pickle(b"(lp0\n" + b"F0.5\na" * count + b".", "x") == [0.5] * count


def test_mapped_file_is_read_as_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "HELD_BYTES", 10_000)  # so that pages are let go of, and read again
    let_go, release = [], machine.Machine._release
    monkeypatch.setattr(machine.Machine, "_release", lambda of: (release(of), let_go.append(of.released)))
    value = [np.arange(n, n + 5000.0) for n in range(40)] + [[float(n)] * 3000 for n in range(40)]
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(value, 2))
    for found, expected in zip(read_pickle(tmp_path / "file.pkl"), value, strict=True):
        assert (found if isinstance(found, np.ndarray) else np.array(expand(found))).tolist() == list(expected)
    assert len(let_go) > 20 and let_go == sorted(set(let_go)) and let_go[-1] > 1_000_000


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
        (Calls(os.system, "touch {marker}"), f"{os.system.__module__}.system"),
        (Calls(eval, "open('{marker}', 'w')"), "__builtin__.eval"),
        (Calls(getattr, "x", "y"), "__builtin__.getattr"),
        (Calls(np.load, "{marker}"), "numpy.load"),
        (Calls(np.fromfile, "{marker}"), "numpy.fromfile"),
        (Calls(bytearray, 1 << 40), "__builtin__.bytearray"),
        (np.zeros(3).view(Foreign), "Foreign"),
        (np.matrix([[1.0]]), "numpy.matrix"),
        (re.compile("x"), "re._compile"),
        (Calls, "Calls"),
    ],
)
def test_any_other_name_is_refused_and_not_run(tmp_path, value, name):
    marker = tmp_path / "ran"
    for protocol in (0, 2, 4):
        data = pickle.dumps(value, protocol)
        expected = name if protocol < 3 else name.replace("__builtin__", "builtins")
        refused(data.replace(b"{marker}", str(marker).encode()[:8]), expected)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends after 0 bytes"),
        (b"\x80\x02]", "truncated"),
        (b"hello, world", "not a pickle"),
        (b"\x80\x07N.", "protocol 7"),
        (b"(ios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\no.", "os.system"),
        (b"cnumpy\nndarray\n)\x81.", "makes an object of numpy.ndarray"),
        (b"P12\n.", "persistent id"),
        (b"N\x82\x01.", "extension code"),
        (b"]}b.", "sets the state of a list"),
        (b"}](N.", "on its stack"),
        (b"N.N.", "2 bytes follow"),
        (b"cnumpy\nndarray\n.", "not data"),
        (b"T\xff\xff\xff\x7f", "2147483647 bytes are announced"),
        (b"\x8e" + b"\xff" * 8 + b".", "bytes are announced"),
        (b"\x96" + b"\xff" * 6 + b"\0\0.", "bytes are announced"),
        (b"\x8b\x00\x00\x00\x7f.", "at most 64 bits"),
        (b"I" + b"9" * 100_000 + b"\n.", "a number of 100000 digits"),
        (b"}((NNt)s.", "file.pkl"),
        (b"}()Nu.", "a tuple as a key"),
        (b"N" * 40 + b"r\xff\xff\xff\xff.", "40 values"),
        (b"(" * 100_000, "nested more than"),
        (b"]" * 50_000 + b"a" * 49_999 + b".", "nested more than"),
        (b"cnumpy\ndtype\n(U\x03f4,tR.", "numpy type"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nlist\n)U\x01btR.", "an array of the class"),
        (b"cnumpy\ndtype\n(U\x02V8tR.", "numpy type"),
        (b"cnumpy\ndtype\n(U\x02U0tR.", "no size"),
    ],
)
def test_damaged_or_hostile_bytes_are_refused(data, reason):
    refused(data, reason)


def array_of(shape: bytes, dtype: bytes = b"f4", data: bytes = b"U\x04\0\0\0\0") -> bytes:
    kind = b"cnumpy\ndtype\n(U" + bytes([len(dtype)]) + dtype + b"tR"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n)U\x01btR(K\x01"
        + shape
        + kind
        + b"\x89"
        + data
        + b"tb."
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (array_of(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"), "needs 18446744056529682436 bytes; found 4 bytes"),
        (array_of(b"(J\xff\xff\xff\xfft"), "shape is not of whole numbers"),
        (array_of(b"(K\x02t", b"O", b"]"), "needs 2 values; found 0"),
        (array_of(b"(K\x01t", data=b"]"), "found a list"),
        (array_of(b"(" + b"K\x01" * 9 + b"t"), "type or shape"),
    ],
)
def test_array_must_have_the_bytes_its_shape_announces(data, reason):
    refused(data, reason)


def laughs(levels: int = 25) -> bytes:
    """Each list holds the one before ten times: 10^25 strings for who takes them apart, prints or compares them."""
    data = b"(Vlol\np0\n" + b"g0\n" * 9 + b"lp1\n"
    for level in range(1, levels):
        data += b"0(" + b"g%d\n" % level * 10 + b"lp%d\n" % (level + 1)
    return data + b"."


def repeated_array(times: int = 400_000) -> bytes:
    """A feature file whose every utterance is the same array, by two bytes each."""
    array = pickle.dumps(np.ones(100_000, "f4"), 2)[2:-1]
    return b"\x80\x02}K\x00]" + array + b"q\xfa0(" + b"h\xfa" * times + b"es."


BOMBS = {
    "operations": b"\x80\x02]" + b"]0" * (BASE_OPERATIONS + 100_000) + b".",
    "memo": b"\x80\x02N" + b"".join(b"r" + n.to_bytes(4, "little") for n in range(2 * BASE_OPERATIONS)) + b".",
    "sets": b"\x80\x02" + b"\x8f" * BASE_OPERATIONS + b".",
    "encodings": b"X\xa0\x86\x01\x00"
    + b"a" * 100_000
    + b"p0\n0"
    + b"c_codecs\nencode\n(g0\nVlatin1\ntR0" * 1000
    + b"N.",
}


@pytest.mark.parametrize("bomb", [*BOMBS, "laughs", "repeated array"])
def test_bomb_is_refused_within_two_seconds_and_500_mb(bomb, tmp_path):
    data = BOMBS.get(bomb) or (laughs() if bomb == "laughs" else repeated_array())
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    reason = {"laughs": "no known layout", "repeated array": "by reference"}.get(bomb, "operations for a file of")
    with pytest.raises(InputError, match=reason):
        recognise(parse_pickle(data, "file.pkl"), about(data), "mean")
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 440 << 10  # KiB; Python and numpy have 60 MB


def about(data: bytes) -> About:
    return About(path="file.pkl", bytes=len(data), sha256="", git_blob="")


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
    """A layout's parts with these dialogues alone."""
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
    for number in range(12_000):
        data = mutate(seeds[number % len(seeds)], chance)
        try:
            recognise(parse_pickle(data, "file.pkl"), about(data), "mean")
        except InputError:
            refusals += 1
    assert 6_000 < refusals < 12_000  # else it does not probe: nothing, or everything, is refused
