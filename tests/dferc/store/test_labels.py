"""Labels of tables: missing values in any spelling, numbers as anything, names in several spellings, no phantom class.

The same rules hold in `prepare` and in `dferc import`; tests of both stand where those are tested.
"""

import datetime
import re
import time
import unicodedata
from decimal import Decimal

import numpy as np
import pytest

from dferc.core.errors import InputError
from dferc.store.labels import read_labels


def read(values, **names):
    return read_labels(values, lambda row: f"row {row}", file="mine.csv", option="--classes", **names)


def kinds(labels):
    return [problem.partition(":")[0] for problem, _ in labels.problems]


MISSING = (
    [
        "",
        " ",
        "NA",
        "na",
        "nan",
        "NaN",
        "-nan",
        "None",
        "null",
        "NULL",
        "N/A",
        "n/a",
        "#N/A",
        "<NA>",
        "NaT",
        "nil",
        "\\N",
    ]
    + [
        "?",
        "-",
        ".",
        "-1",
        "-1.0",
        "−1",
        "？",
        "missing",
        None,
        float("nan"),
        np.float32("nan"),
        -1,
        -1.0,
        np.int64(-1),
    ]
    + [b"NA", np.str_("nan"), np.datetime64("NaT")]
    + ["#N/A N/A", "1.#IND", "-1.#QNAN", "NA_integer_", "N / A", "not_available"]  # pandas, R
    + ["#NV", "#N/D", "#Н/Д", "#I/T", "#WERT!", "#ERROR!", "k.A.", "keine Angabe", "缺失", "なし", "(none)"]
    + ["xxx", "???", "---", "(NA)", "<NaN>", "'NA'", "--NA--", "N/A.", "null.", "no-label", "undef"]
    + ["#ЗНАЧ!", "#¡VALOR!", "#ИМЯ?", "no agreement", "no_agreement", "未标注", "無"]
)


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_missing_value_in_any_spelling_is_unlabelled_and_counted(value):
    labels = read(["joy", value, "anger", "joy"])
    assert (labels.ids, labels.classes) == ([1, -1, 0, 1], ("anger", "joy"))
    assert labels.missing.total() == 1
    spelled = "" if value is None or value != value else str(value).strip()
    problem = labels.missing_label("b")
    assert problem.startswith("no emotion label: 1 of 4") and problem.endswith("first b")
    assert ("spelled" in problem) == bool(spelled) or isinstance(value, np.datetime64)


@pytest.mark.parametrize("name", [":)", ":-(", "-_-", "^_^", "no emotion", "no_emotion", "other", "#joy", "x", "😐"])
def test_names_that_resemble_a_missing_value_are_classes(name):
    assert not read(["joy", name, "anger", "joy"]).missing


def test_value_of_pandas_that_is_missing_is_unlabelled():
    pandas = pytest.importorskip("pandas")
    assert read(["joy", pandas.NA, pandas.NaT, "anger"]).ids == [1, -1, -1, 0]


@pytest.mark.parametrize("name", ["none", "None", "null", "N/A", "-1", "?", "nan"])
def test_class_that_is_spelled_as_a_missing_value_stays_where_it_is_declared(name):
    labels = read([name, "joy", "", name], declared=["joy", name])
    assert labels.ids == [1, 0, -1, 1] and labels.missing == {"": 1}


def test_names_that_begin_as_a_missing_value_are_classes():
    assert read(["neutral", "nonexcited", "no emotion", "naive"]).ids == [1, 3, 2, 0]


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, None, 1],
        [0.0, 1.0, float("nan"), 1.0],
        ["0", "1.0", "", 1],
        ["0,0", "1,0", "NA", "1.000000e+00"],
        [Decimal("0"), Decimal("1.00"), None, Decimal("1")],
        [np.uint8(0), np.float16(1), None, np.int64(1)],
        [b"0", b"1", b"", b"1"],
    ],
    ids=repr,
)
def test_whole_numbers_of_any_type_are_one_class(values):
    labels = read(values)
    assert (labels.ids, labels.classes) == ([0, 1, -1, 1], ("0", "1"))
    assert read(values, declared=["joy", "anger"]).names() == ["joy", "anger", "", "anger"]


def test_truth_values_are_two_classes():
    assert read([True, False, True]).names() == read(["True", "False", "True"]).names() == ["True", "False", "True"]


SPELLINGS = [
    ["joy", "Joy", "JOY"],
    ["joy", " joy ", "joy\u200b", "\ufeffjoy", "joy\n"],
    ["fröhlich", unicodedata.normalize("NFD", "fröhlich")],
    ["joy", "ｊｏｙ"],
    ["very sad", "very  sad", "very\u00a0sad"],
    ["joy", "joy\u202c", "\u2067joy\u2069", "\u061cjoy", "joy\u180e", "jo\u034fy", "joy\u2061"],  # of writing direction
    ["😀", "😀\ufe0f", "😀\u200d"],
    ["straße", "STRASSE"],
]


@pytest.mark.parametrize("texts", SPELLINGS, ids=repr)
def test_spellings_of_one_class_are_merged_and_reported(texts):
    labels = read([*texts, texts[0], "anger"])
    assert labels.classes == tuple(sorted(["anger", texts[0]]))
    assert len(set(labels.ids[:-1])) == 1
    kept = [re.sub("[\u034f\u061c\u180e\u200b\u202c\u2061\u2067\u2069\ufeff]", "", text) for text in texts]
    distinct = len({unicodedata.normalize("NFC", " ".join(text.split())) for text in kept})
    assert ("one class in several spellings" in kinds(labels)) == (distinct > 1) == bool(labels.notes)


def test_declared_spelling_names_the_class():
    labels = read(["JOY", "anger", "joy "], declared=["Joy", "Anger"])
    assert labels.names() == ["Joy", "Anger", "Joy"] and labels.notes[0].count == 3


@pytest.mark.parametrize("names", [("02", "00", "01"), ("1.0", "0.0", "-1.0"), ("01", "03", "05")])
def test_declared_numbers_are_the_names_of_their_classes_in_any_order_and_spelling(names):
    labels = read([*sorted(names), names[0]], declared=names)
    assert labels.names() == [*sorted(names), names[0]]
    with pytest.raises(InputError, match="is there twice"):
        read(["1", "1.0"], declared=["1", "1.0"])


def test_numbering_from_one_is_recognised_and_reported():
    labels = read([1, 2, 3, -1], declared=["a", "b", "c"])
    assert labels.names() == ["a", "b", "c", ""] and kinds(labels) == ["labels numbered from 1"]
    labels = read([1, 2, 3])
    assert labels.classes == ("1", "2", "3") and kinds(labels) == ["labels numbered from 1"]  # no class 0 without rows


@pytest.mark.parametrize("names", ["declared", "published"])
def test_numbering_that_may_begin_at_zero_or_at_one_is_refused(names):
    with pytest.raises(InputError, match="labels from 1 to 2 for 3 classes counted from 0 or from 1"):
        read([1, 2, 1], **{names: ["a", "b", "c"]})


def test_gap_in_the_numbers_makes_no_phantom_class():
    labels = read([0, 3, 10, 3])
    assert labels.classes == ("0", "3", "10") and labels.ids == [0, 1, 2, 1]
    assert kinds(labels) == ["labels with gaps in their numbers"]


@pytest.mark.parametrize(
    "names", ["SEVİNÇ Sevinç", "KIZGIN kızgın", "شادی شادي", "خشمگین خشمگين", "فرح فـرح", "کند كند"]
)
def test_names_of_turkish_persian_and_arabic_are_one_class_in_capitals_and_from_any_keyboard(names):
    labels = read([*names.split(), "x", "y"])
    assert len(labels.classes) == 3 and labels.ids[0] == labels.ids[1]
    assert kinds(labels) == ["one class in several spellings"]


def test_declared_class_without_a_row_is_refused_and_a_published_one_is_reported():
    for values in ([0, 1, 0], ["a", "b", "b"]):
        with pytest.raises(InputError, match="mine.csv: no row has the class c, which --classes names; found"):
            read(values, declared=["a", "b", "c"])
        assert kinds(read(values, published=["a", "b", "c"])) == ["classes without a row"]
    assert read(["", None], declared=["a", "b", "c"]).ids == [-1, -1]  # no labels at all: for predictions


REFUSED = {
    "one class": (["joy", "joy", ""], {}, "every labelled row has the emotion 'joy' (2 rows)"),
    "missing or a class": (["none", "joy"], {}, "Taken for missing: none; name it in --classes if it is a class"),
    "scores": ([0.3, 0.7], {}, "row 0: the label is '0.3': a score, expected one class"),
    "one-hot lists": ([[0, 1], [1, 0]], {}, "row 0: the label is '[list: [0, 1]]': one-hot or soft scores"),
    "one-hot arrays": ([np.eye(2)[0], np.eye(2)[1]], {}, "one-hot or soft scores"),
    "one-hot texts": (["0 1 0", "1 0 0"], {}, "one-hot or soft scores"),
    "votes": (["joy:2 anger:1", "anger:3", "joy:3"], {}, "row 0: the label is 'joy:2 anger:1': one-hot or soft scores"),
    "a class and its score": (["joy (0.8)", "anger"], {}, "row 0: the label is 'joy (0.8)': one-hot or soft scores"),
    "a class and its share": (["anger", "joy: 80 %"], {}, "row 1: the label is 'joy: 80 %': one-hot or soft scores"),
    "scores by class": (["joy=.75;anger=.25", "joy=1.0"], {}, "one-hot or soft scores"),
    "scores as JSON": (['{"joy": 0.9}', "joy"], {}, "one-hot or soft scores"),
    "several classes": (["joy|anger", "joy", "anger"], {}, "row 0: the label 'joy|anger' names 2 classes"),
    "unsigned -1": ([0, 1, 255], {}, "row 2: the label is 255; expected one of 0, 1"),
    "several, one never alone": (["joy;guilt", "joy", "anger"], {}, "the label 'joy;guilt' names 2 classes"),
    "NaN cast to int": ([0, 1, -(1 << 63)], {}, "row 2: the label is -9223372036854775808"),
    "64 bits": ([0, 1, (1 << 64) - 1], {}, "Is it -1, kept as an unsigned number?"),
    "unknown": (["joy", "angre"], {"declared": ["joy", "anger"]}, "Did you mean 'anger'?"),
    "unknown number": ([0, 7], {"declared": ["a", "b"]}, "numbers are 0 to 7: --classes must name a class for each"),
    "texts": (
        [f"a text {row}" for row in range(150)],
        {},
        "150 different labels in 150 rows, such as a text 0, a text 1",
    ),
    "infinity": ([0.0, 1.0, float("inf")], {}, "row 2: the label is '[float: inf]'; expected a name or a whole number"),
    "dates": ([datetime.date(2026, 1, 1)] * 2, {}, "'[date: 2026-01-01]'; expected a name or a whole number"),
    "complex": ([1j, 2j], {}, "expected a name or a whole number"),
    "NUL": (["jo\0y", "anger"], {}, "row 0: the label holds a NUL character"),
    "surrogate": (["joy", "ang\ud800er"], {}, "row 1: the label holds half of a character"),
    "not UTF-8": ([b"joy", b"caf\xe9"], {}, "row 1: the label holds half of a character"),
    "same class twice": (["joy", "anger"], {"declared": ["joy", "Joy"]}, "the class 'joy' is there twice"),
    "class without a name": (["joy", "anger"], {"declared": ["joy", "\u200b"]}, "is no name"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_labels_that_are_no_classes_are_refused(fault):
    values, names, expected = REFUSED[fault]
    with pytest.raises(InputError) as refused:
        read(values, **names)
    assert str(refused.value).startswith("mine.csv: ") and expected in str(refused.value)
    str(refused.value).encode()  # can be printed


@pytest.mark.parametrize("name", ["pain 50%", "level 0.5", "joy;guilt", "joy|anger"])
def test_a_declared_class_is_one_however_it_is_written(name):
    labels = read(["joy", name, "anger"], declared=["joy", "anger", name])
    assert labels.ids == [0, 2, 1]
    with pytest.raises(InputError, match="A class of this name. Name it in --classes"):
        read(["joy", name, "anger"])


def test_rare_class_that_resembles_another_is_listed():
    labels = read(["joy"] * 12 + ["jyo", "anger", "anger"])
    assert kinds(labels) == ["rare class that resembles another"] and "'jyo' 1, 'joy' 12" in labels.problems[0][0]
    assert not read(["joy"] * 12 + ["sadness", "anger", "anger"]).problems


def test_a_hundred_thousand_different_labels_are_refused_in_no_time():
    began = time.process_time()
    for names in ({}, {"declared": ["joy", "anger"]}):
        with pytest.raises(InputError):
            read([f"label {row}" for row in range(100_000)], **names)
    assert time.process_time() - began < 20


def test_many_labels_that_are_no_class_make_a_short_message():
    with pytest.raises(InputError) as refused:
        read([f"x{row}" * 1000 for row in range(500)], declared=["joy", "anger"])
    assert len(str(refused.value)) < 4000 and "490 more" in str(refused.value)


@pytest.mark.parametrize("label", ["joy,guilt", "joy (2/3)", "joy 3/3"])
def test_several_classes_with_a_comma_and_shares_of_annotators_are_refused(label):
    with pytest.raises(InputError, match="names 2 classes|one-hot or soft scores"):
        read([label, "joy", "anger"] * 3)
    assert read([label, "joy", "anger"], declared=["joy", "anger", label]).ids == [2, 0, 1]
