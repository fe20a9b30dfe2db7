"""Your own table: what a person writes becomes rows; every slip is named with its file and line."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from pipeline import prepare
from pipeline.corpora._own_tables import read_table
from tests.helpers.own_files import HEADER, expect_refusal, kinds, read_own, write

EIGHT = "".join(
    f"d{dialogue},Ann,hello {dialogue},{emotion},clips/{dialogue}{n}.mp4,,,\n"
    for dialogue in range(4)
    for n, emotion in enumerate(("joy", "anger"))
)
"""Four dialogues of two utterances, both emotions in each."""


def test_rows_of_a_table_become_utterances(tmp_path):
    write(
        tmp_path,
        "utterances.csv",
        HEADER
        + 'a,Ann,"Well, hello\nthere.",joy,clips/a.mp4,1.5,00:00:04.25,train\n'
        + "b,Bo,No.,anger,,,,dev\n"
        + "a,Bo,Hi.,,clips/a.mp4,4.5,,train\n"
        + "b,,Why?,joy,,,,val\n",
    )
    corpus = read_own(tmp_path)

    assert (corpus.classes, corpus.protocol) == (("anger", "joy"), "own table, 2 classes, splits of the table")
    rows = [(u.utterance_id, u.dialogue_id, u.position, u.speaker, u.emotion, u.split) for u in corpus.utterances]
    assert rows == [
        ("a_0", "a", 0, "Ann", "joy", "train"),
        ("a_1", "a", 1, "Bo", "", "train"),
        ("b_0", "b", 0, "Bo", "anger", "validation"),
        ("b_1", "b", 1, "", "joy", "validation"),
    ]
    first, second = corpus.utterances[:2]
    assert (first.text, first.media, first.start_s, first.end_s) == ("Well, hello there.", "clips/a.mp4", 1.5, 4.25)
    assert (second.start_s, second.end_s) == (4.5, 0.0)  # no end: that of the file
    again = "dialogue that goes on after another: 2, first a"  # numbers that begin anew, or a table that was shuffled
    assert [problem.problem for problem in corpus.problems] == [again, "no emotion label: 1 of 4, first a_1"]


def test_eval_beside_test_is_refused(tmp_path):
    splits = ["train"] * 4 + ["Eval", "test"]
    rows = [f"d{n},,hi,{'joy' if n % 2 else 'anger'},,,,{split}\n" for n, split in enumerate(splits)]
    write(tmp_path, "utterances.csv", HEADER + "".join(rows))
    expect_refusal(tmp_path, "splits eval and test: which is validation?")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_write_other_separators_and_a_byte_order_mark(tmp_path, separator):
    text = (HEADER + EIGHT).replace(",", separator)
    write(tmp_path, "utterances.csv", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    found = read_own(tmp_path)
    assert len(found.utterances) == 8
    write(tmp_path, "utterances.csv", f"sep={separator}\r\n" + text)  # as Excel tells it
    assert read_own(tmp_path).utterances == found.utterances


def test_empty_lines_and_unnamed_empty_columns_of_a_spreadsheet_are_passed_over(tmp_path):
    lines = (HEADER + EIGHT).splitlines()
    write(tmp_path, "utterances.csv", "\n,,\n" + "".join(f"{line},,\n\n" for line in lines) + ",,,\n")
    found = read_own(tmp_path)
    write(tmp_path, "utterances.csv", HEADER + EIGHT)
    assert found.utterances == read_own(tmp_path).utterances


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_within_the_table_is_no_row(tmp_path, mark):
    for again in ("dialogue_id,speaker,text,emotion", "dialogue_id,text,speaker,emotion"):  # joined by `cat`
        write(tmp_path, "utterances.csv", f"dialogue_id,speaker,text,emotion\n{SIX}{mark}{again}\n{SIX}")
        expect_refusal(tmp_path, "utterances.csv, line 8: the header again")


def test_text_with_line_breaks_counts_from_the_line_on_which_its_row_begins(tmp_path):
    write(tmp_path, "utterances.csv", 'dialogue_id,text,start\na,"one\ntwo",1\na,"three\n\nfour",soon\n')
    expect_refusal(tmp_path, "line 4: start is 'soon'")
    write(tmp_path, "utterances.csv", 'dialogue_id,text,start\na,"one\n two",1\n')
    assert [row.text for row in read_own(tmp_path).utterances] == ["one two"]


def test_blanks_before_a_quote_are_no_text(tmp_path):
    blanks = 'dialogue_id, speaker, text, emotion\na, "Ann", "Well, hello.", "joy"\nb, Bo, "No.", anger\n'
    write(tmp_path, "utterances.csv", blanks)
    corpus = read_own(tmp_path, validation_share=0.0, test_share=0.0)
    assert (corpus.classes, corpus.utterances[0].speaker, corpus.utterances[1].text) == (("anger", "joy"), "Ann", "No.")


def test_clips_in_the_order_of_the_alphabet_are_listed(tmp_path):
    for order, listed in (((0, 10, 2), True), ((0, 2, 10), False)):
        lines = (f"d{d},Ann,hello {n},{'joy' if n else 'anger'},clips/{n}.mp4,,,\n" for d in range(4) for n in order)
        write(tmp_path, "utterances.csv", HEADER + "".join(lines))
        assert ("utterances in the order of the alphabet" in kinds(read_own(tmp_path))) == listed


def test_names_beside_times_of_one_file_need_no_guess(tmp_path):
    """In each dialogue she speaks first, so that the names of the turns rise, as the times do."""
    guessed = "utterances in the order of the alphabet"
    for starts, expected in (((0, 2), ""), ((2, 0), "out of order"), (("", ""), guessed)):
        turns = [(d, *turn) for d in range(4) for turn in zip("FM", starts, ("joy", "anger"), strict=True)]
        lines = (f"d{d},d{d}_{who}001,hello,{emotion},{d}.mp4,{start}\n" for d, who, start, emotion in turns)
        write(tmp_path, "utterances.csv", "dialogue_id,utterance_id,text,emotion,media,start\n" + "".join(lines))
        order = [kind for kind in kinds(read_own(tmp_path)) if "order" in kind]
        assert set(order) == ({expected} if expected else set())


def test_labels_in_another_file_are_those_of_subtitles(tmp_path):
    write(tmp_path, "utterances.csv", "utterance_id,dialogue_id,text\nu1,a,hi\nu2,a,ho\n")
    write(tmp_path, "labels.csv", "utterance_id,emotion\nu1,joy\nu2,anger\n")
    expect_refusal(tmp_path, "prepare.options.labels", "column emotion; set it to none", labels="labels.csv")


def test_files_of_no_row_are_listed(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + EIGHT)
    for name in ("clips/forgotten.MOV", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, "")
    listed = {problem.kind: problem.file for problem in read_own(tmp_path).problems}
    assert (listed["in no row"], listed["files not used"]) == ("clips/forgotten.MOV", "notes.txt")


def test_jsonl_says_the_same_as_csv(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + EIGHT)
    fields = HEADER.strip().split(",")
    rows = [dict(zip(fields, line.split(","), strict=True)) for line in EIGHT.splitlines()]
    rows[0] |= {"start": None, "speaker": "Ann"}
    expected = read_own(tmp_path)
    (tmp_path / "utterances.csv").unlink()
    write(tmp_path, "utterances.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert read_own(tmp_path, table="utterances.jsonl") == expected


def test_jsonl_numbers_are_read_as_written(tmp_path):
    write(
        tmp_path,
        "t.jsonl",
        '{"dialogue_id": 7, "text": "hi", "media": "a.wav", "start": 0.5, "end": 2}\n{"dialogue_id": 7, "text": "ho"}',
    )
    (first, second), found = read_own(tmp_path, table="t.jsonl").utterances, read_own(tmp_path, table="t.jsonl")
    assert (first.dialogue_id, first.start_s, first.end_s, second.media) == ("7", 0.5, 2.0, "")
    assert (found.classes, found.protocol, first.split) == ((), "own table, unlabelled", "test")


def test_the_table_that_prepare_writes_can_be_labelled_and_read(tmp_path):
    columns = "utterance_id,dialogue_id,position,speaker,emotion,split,text,media,start_s,end_s,has_audio,has_video\n"
    write(
        tmp_path, "utterances.csv", columns + "x,d,0,,joy,train,hi,a.mp4,1.0,2.5,True,True\ny,d,1,,fear,train,ho,,,,,\n"
    )
    corpus = read_own(tmp_path, validation_share=0.0)
    assert (corpus.utterances[0].utterance_id, corpus.utterances[0].start_s, corpus.utterances[0].end_s) == (
        "x",
        1.0,
        2.5,
    )
    assert corpus.problems[0].problem == "unknown column: 'position', 'has_audio', 'has_video'"


def test_splits_are_made_by_dialogue_where_the_table_has_none(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + EIGHT)
    corpus = read_own(tmp_path, validation_share=0.25, test_share=0.25, split_seed=3)
    by_split = {
        split: {u.dialogue_id for u in corpus.utterances if u.split == split}
        for split in ("train", "validation", "test")
    }
    assert [len(dialogues) for dialogues in by_split.values()] == [2, 1, 1]
    assert corpus.protocol == "own table, 2 classes, splits made by dialogue, seed 3: validation 0.25, test 0.25"
    assert corpus == read_own(tmp_path, validation_share=0.25, test_share=0.25, split_seed=3)


def test_validation_is_taken_from_train_where_the_table_has_none(tmp_path):
    text = "".join(f"{line.rstrip(',')},,,{'test' if line[1] == '3' else 'train'}\n" for line in EIGHT.splitlines())
    write(tmp_path, "utterances.csv", HEADER + text)
    corpus = read_own(tmp_path, validation_share=0.34)
    split = {u.dialogue_id: u.split for u in corpus.utterances}
    assert split["d3"] == "test" and sorted(split[f"d{n}"] for n in range(3)) == ["train", "train", "validation"]
    assert "validation made by dialogue, seed 0: 0.34 of train" in corpus.protocol


def test_classes_of_the_settings_keep_their_order(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + EIGHT)
    assert read_own(tmp_path, classes=["joy", "anger"]).classes == ("joy", "anger")
    phantom = ["no row has the class neutral, which prepare.options.classes names", "found anger, joy"]
    expect_refusal(tmp_path, *phantom, classes=["neutral", "joy", "anger"])


def test_doubtful_rows_are_problems_with_a_consequence(tmp_path):
    write(
        tmp_path,
        "utterances.csv",
        HEADER
        + "a,,,,v.mp4,0,2,\n"  # no text
        + "a,,x,,v.mp4,1.5,3,\n"  # overlaps by half a second
        + "a,,x,,v.mp4,1,4,\n"  # before the one before
        + "a,,x,,v.mp4,-2,0,\n",  # nothing of any file; also backwards
    )
    corpus = read_own(tmp_path)
    assert [(each.where, each.problem) for each in corpus.problems] == [
        ("utterances.csv, line 2", "empty transcript"),
        ("utterances.csv, line 3", "overlap: begins 0.500 s before the end of utterances.csv, line 2"),
        ("utterances.csv, line 4", "out of order: begins at 1 s, the row before (utterances.csv, line 3) at 1.5 s"),
        ("utterances.csv, line 5", "span empty: -2 s to 0 s"),
        ("utterances.csv, line 5", "out of order: begins at -2 s, the row before (utterances.csv, line 4) at 1 s"),
        ("utterances.csv", "no emotion label: 4 of 4, first a_0"),
    ]
    assert corpus.utterances[3].media == "" and all(each.consequence for each in corpus.problems)


def test_test_split_without_labels_is_reported(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + "a,,x,joy,,,,train\nb,,x,anger,,,,dev\nc,,x,,,,,test\n")
    assert kinds(read_own(tmp_path)) == ["no emotion label", "test split unlabelled"]


SIX = "".join(f"d{n},{who},line {n},{label}\n" for n in range(3) for who, label in (("Ann", "joy"), ("Bo", "anger")))
"""Three dialogues of two utterances: dialogue, speaker, text, emotion."""


def labelled(tmp_path, *changes, suffix="csv", **options):
    """Read six rows in which one text after the other is replaced."""
    text = "dialogue_id,speaker,text,emotion\n" + SIX
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    write(tmp_path, f"t.{suffix}", text)
    return read_own(tmp_path, table=f"t.{suffix}", validation_share=0.0, test_share=0.0, **options)


@pytest.mark.parametrize("spelling", ["NA", "nan", "None", "null", "N/A", "-1", "?", "<NA>", "#N/A", "n/a", ""])
def test_missing_label_is_unlabelled_in_any_spelling_and_counted(tmp_path, spelling):
    corpus = labelled(tmp_path, ("line 1,joy", f"line 1,{spelling}"))
    assert corpus.classes == ("anger", "joy")
    assert [row.emotion for row in corpus.utterances] == ["joy", "anger", "", "anger", "joy", "anger"]
    how = f" (spelled {spelling!r} 1)" if spelling else ""
    assert [each.problem for each in corpus.problems] == [f"no emotion label: 1 of 6{how}, first d1_0"]


def test_missing_values_of_r_and_pandas_are_no_speakers(tmp_path):
    corpus = labelled(tmp_path, ("d1,Ann", "d1,NA"), ("d2,Bo", "d2,nan"))
    assert [row.speaker for row in corpus.utterances] == ["Ann", "Bo", "", "Bo", "Ann", ""]
    assert corpus.problems[0].problem == "missing values of speaker: 'NA' 1, 'nan' 1, first line 4"
    assert labelled(tmp_path, ("d1,Ann", "d1,Na")).utterances[2].speaker == "Na"  # a name


def test_null_and_nan_of_json_are_missing(tmp_path):
    rows = [
        {"dialogue_id": 1.0, "text": "hi", "emotion": label} for label in ("joy", None, float("nan"), "anger", "NaN")
    ]
    write(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows)))
    corpus = read_own(tmp_path, table="t.jsonl", validation_share=0.0, test_share=0.0)
    assert [row.emotion for row in corpus.utterances] == ["joy", "", "", "anger", ""]
    assert {row.dialogue_id for row in corpus.utterances} == {"1"}
    assert "dialogue_id: whole numbers written as floats" in corpus.problems[0].problem


def test_spellings_of_a_class_are_merged_and_reported(tmp_path):
    corpus = labelled(tmp_path, ("line 1,joy", "line 1,JOY "), ("line 2,joy", "line 2,\uff4aoy"))
    assert corpus.classes == ("JOY", "anger")  # the first of the spellings, all as frequent
    assert kinds(corpus) == ["one class in several spellings"] and corpus.notes[0].action == "merged"
    declared = labelled(tmp_path, ("line 1,joy", "line 1,JOY "), classes=["anger", "Joy"])
    assert declared.classes == ("anger", "Joy") and {row.emotion for row in declared.utterances} == {"anger", "Joy"}


def test_numbers_of_any_form_name_the_classes_of_the_settings(tmp_path):
    numbers = [("line 0,joy", "line 0,1.0"), ("line 1,joy", "line 1,1"), ("line 2,joy", 'line 2,"1,0"'), ("anger", "2")]
    corpus = labelled(tmp_path, *numbers, classes=["joy", "anger"])
    assert [row.emotion for row in corpus.utterances] == ["joy", "anger"] * 3
    assert kinds(corpus) == ["labels numbered from 1", "one number in several spellings"]


def test_scores_per_class_in_place_of_labels_are_named(tmp_path):
    write(tmp_path, "utterances.csv", "dialogue_id,text,joy,anger\na,hi,1,0\na,ho,0,1\n")
    expect_refusal(tmp_path, "no column emotion; joy, anger hold one-hot or soft scores")
    write(tmp_path, "utterances.csv", 'dialogue_id,text,emotion\na,hi,"[0.1, 0.9]"\na,ho,"[0.6, 0.4]"\n')
    expect_refusal(tmp_path, "line 2: the label is '[0.1, 0.9]': one-hot or soft scores")


def test_rows_that_a_quote_swallowed_are_found(tmp_path):
    swallowed = [("d0,Bo,line 0,anger", 'd0,"Bo,line 0,anger'), ("d1,Ann", 'd1,Ann"')]
    with pytest.raises(InputError, match="t.csv, line 3: a field holds line breaks and 3 separators, as if a quote is"):
        labelled(tmp_path, *swallowed)
    with pytest.raises(InputError, match="The row begins on line 3: is a quote not closed?"):
        labelled(tmp_path, swallowed[0])
    text = labelled(tmp_path, ("line 0,joy", '"Well, I\nsee",joy')).utterances[0].text
    assert text == "Well, I see"  # a text of two lines with a comma is no row


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_with_a_byte_order_mark_are_read(tmp_path, encoding, separator):
    text = ("dialogue_id,speaker,text,emotion\n" + SIX).replace("Ann", "Zoë").replace(",", separator)
    write(tmp_path, "utterances.csv", text.encode(encoding))
    assert read_own(tmp_path, test_share=0.0).utterances[0].speaker == "Zoë"
    if encoding == "utf-16":
        write(tmp_path, "utterances.csv", text.encode(encoding)[:-1])
        expect_refusal(tmp_path, "not readable as UTF-16, which its first bytes announce")


def test_names_that_differ_in_case_only_are_listed(tmp_path):
    corpus = labelled(tmp_path, ("d1,Bo", "D1,ann"))
    assert [each.problem for each in corpus.problems] == [
        "dialogue_id in several spellings: 'd1', 'D1'",
        "speaker in several spellings: 'Ann', 'ann'",
    ]


def test_ids_that_a_spreadsheet_rounded_are_refused(tmp_path):
    with pytest.raises(InputError, match="dialogue_id: '1.23E\\+15' is a number that lost digits"):
        labelled(tmp_path, *((f"d{n}", "1.23E+15") for n in range(3)))
    assert {row.dialogue_id for row in labelled(tmp_path, *((f"d{n}", f"{n}.0") for n in range(3))).utterances} == set(
        "012"
    )
    versions = labelled(tmp_path, ("d1", "1.0"))  # a name among names
    assert "1.0" in {row.dialogue_id for row in versions.utterances} and not versions.problems


def test_rare_class_that_resembles_another_and_repeated_rows_are_listed(tmp_path):
    corpus = labelled(tmp_path, ("line 1,joy", "line 1,jyo"), ("d2,Bo,line 2,anger", "d2,Ann,line 2,joy"))
    assert [each.problem for each in corpus.problems] == [
        "row repeated word by word: 1, first t.csv, line 7",
        "rare class that resembles another: 'jyo' 1, 'joy' 3",
    ]


def test_formulas_of_a_spreadsheet_are_text_and_listed(tmp_path):
    formula = '"=HYPERLINK(""http://x"",""y"")"'
    corpus = labelled(tmp_path, ("line 0,joy", f"{formula},joy"))
    assert corpus.utterances[0].text == '=HYPERLINK("http://x","y")'
    assert kinds(corpus) == ["like a formula of a spreadsheet"]


@pytest.mark.parametrize(
    ("column", "name"), [("emotion", "label"), ("text", "sentence"), ("dialogue_id", "conversation")]
)
def test_column_that_others_name_otherwise_is_refused_with_our_name(tmp_path, column, name):
    with pytest.raises(InputError, match=f"unknown column '{name}'. Did you mean '{column}'?"):
        labelled(tmp_path, (column, name))


@pytest.mark.parametrize(
    ("column", "name"), [("media", "File Name"), ("start", "onset"), ("end", "Offset"), ("speaker", "speaker_id")]
)
def test_column_of_media_or_times_under_another_name_is_refused(tmp_path, column, name):
    write(tmp_path, "utterances.csv", HEADER.replace(column, name) + "a,Ann,x,,v.mp4,1,2,\n")
    expect_refusal(tmp_path, f"unknown column '{name}'. Did you mean '{column}'?")


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["utterances.csv has no rows"]),
        (HEADER, ["utterances.csv has no rows"]),
        ("speaker,text\nAnn,hi\n", ["no column dialogue_id; found speaker, text"]),
        ("dialogue_id,speaker\na,Ann\n", ["no row has a text or a media file; expected a column `text`"]),
        ("dialogue_id,text,emotoin\na,hi,joy\n", ["unknown column 'emotoin'. Did you mean 'emotion'?"]),
        ("dialogue_id,text,,\na,hi,,\na,ho,,yes\n", ["line 3: 'yes' in column 4, which has no name"]),
        ("dialogue_id,text,text\na,hi,ho\n", ["line 1: the column 'text' is there twice"]),
        ("dialogue_id,text,Text\na,hi,ho\n", ["the column 'text' is there twice"]),
        ("dialogue_id,text\na,hi\nb,well, hello\n", ["line 3: 3 fields, the header has 2", "in quotes"]),
        ('dialogue_id,text\na,hi\nb,"open\n', ["not readable as CSV"]),
        ("dialogue_id,text\n,hi\na,ho\n", ["line 2: dialogue_id is empty"]),
        ("dialogue_id,text,start\na,hi,soon\n", ["line 2: start is 'soon'; expected seconds"]),
        ("dialogue_id,text,end\na,hi,nan\n", ["line 2: end is 'nan'; expected seconds"]),
        ("dialogue_id,text\na,h\0i\n", ["utterances.csv, line 2: a NUL character. Is the file UTF-16"]),
        ("dialogue_id,text,split\na,hi,trian\n", ["line 2: split 'trian', expected train, validation, test"]),
        (
            "dialogue_id,text,split\na,hi,train\nb,x,test\na,ho,test\n",
            ["line 4: the dialogue 'a' is in two splits: test here, train in utterances.csv, line 2"],
        ),
        ("dialogue_id,text,split\na,hi,train\nb,ho,\n", ["line 3: the dialogue 'b' has no split, others have"]),
        (
            "utterance_id,dialogue_id,text\nu,a,hi\nv,a,x\nu,b,ho\n",
            ["line 4: the utterance_id 'u' is that of utterances.csv, line 2 already"],
        ),
        ("dialogue_id,text,emotion\na,hi,joy\nb,ho,joy\n", ["has the emotion 'joy' (2 rows); two classes are needed"]),
        ("dialogue_id,text,emotion\na,hi,joy\nb,ho,Joy\n", ["has the emotion 'Joy' (2 rows); two classes are needed"]),
        ("dialogue_id,text,emotion\na,hi,joy\na,ho,anger\n", ["1 dialogue(s) have labels, too few to make 3 splits"]),
        (
            "dialogue_id,text,emotion,split\na,hi,joy,train\na,x,anger,train\nb,ho,,dev\n",
            ["emotions in the train split only: none of the 1 validation dialogue(s), first 'b'"],
        ),
    ],
)  # fmt: skip
def test_faulty_table_is_refused_with_file_and_line(tmp_path, content, parts):
    write(tmp_path, "utterances.csv", content)
    expect_refusal(tmp_path, str(tmp_path), *parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"dialogue_id": "a", "text": "hi"}\n{"dialogue_id": "a", "text"', ["t.jsonl, line 2: not readable as JSON"]),
        ('["a", "hi"]', ["t.jsonl, line 1: expected an object {…}, found list"]),
        ('{"dialogue_id": ["a"], "text": "hi"}', ["t.jsonl, line 1: dialogue_id is ['a']; expected a text"]),
        ('{"dialogue_id": "a", "text": "\\ud800"}', ["line 1: text holds half of a character"]),
        ('{"dialogue_id": "a", "text": "\\u0000"}', ["line 1: text holds a NUL character"]),
        ("[" * 100_000, ["t.jsonl, line 1: not readable as JSON"]),
        (
            '{"dialogue_id": "a", "text": "hi", "text": "ho"}',
            ["line 1: not readable as JSON: the key 'text' is there twice"],
        ),
        ('{"dialogue_id": "a", "text": "hi", "emotion": [0, 1]}', ["line 1: emotion is [0, 1]; expected a text"]),
    ],
)
def test_faulty_jsonl_is_refused_with_file_and_line(tmp_path, content, parts):
    write(tmp_path, "t.jsonl", content)
    expect_refusal(tmp_path, *parts, table="t.jsonl")


def test_label_that_is_no_class_is_refused_with_the_nearest(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + EIGHT.replace("anger", "angre"))
    expect_refusal(
        tmp_path,
        "line 3 and 3 more: the label is 'angre'; expected one of joy, anger",
        "Did you mean 'anger'?",
        classes=["joy", "anger"],
    )


def test_byte_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    write(tmp_path, "utterances.csv", "dialogue_id,text\na,hi\nb,caf\xe9\n".encode("latin-1"))
    expect_refusal(tmp_path, "utterances.csv, line 3: the byte 0xe9 (byte 28 of the text) is not UTF-8")


def test_missing_files_are_named_with_what_is_there(tmp_path):
    expect_refusal(tmp_path / "nowhere", "nowhere: no such folder")
    write(tmp_path, "utterance.csv", HEADER)
    expect_refusal(tmp_path, "utterances.csv: no such file", "has utterance.csv", "Did you mean 'utterance.csv'?")
    write(tmp_path, "table.xlsx", b"PK\x03\x04")
    expect_refusal(tmp_path, "expected a .csv, .tsv or .jsonl file", table="table.xlsx")


@pytest.mark.parametrize(
    "media", ["../../etc/passwd", "/etc/passwd", "clips/../../secret.mp4", "linked.mp4", "linked/a.mp4"]
)
def test_media_that_leave_the_folder_are_refused(tmp_path, media):
    raw = tmp_path / "raw"
    write(tmp_path, "secret.mp4", "")
    write(raw, "utterances.csv", HEADER + f"a,,hi,,clips/fine.mp4,,,\nb,,ho,,{media},,,\n")
    (raw / "linked.mp4").symlink_to(tmp_path / "secret.mp4")
    (raw / "linked").symlink_to(tmp_path)
    expect_refusal(raw, f"utterances.csv, line 3: media '{media}'", f"expected a path within {raw}")


def test_raw_folder_itself_may_be_a_link(tmp_path):
    write(tmp_path / "disk", "utterances.csv", HEADER + "a,,hi,,clips/../a.mp4,,,\n")
    (tmp_path / "raw").symlink_to(tmp_path / "disk")
    assert read_own(tmp_path / "raw").utterances[0].media == "clips/../a.mp4"


def test_many_faults_are_counted(tmp_path):
    write(tmp_path, "utterances.csv", "dialogue_id,text\n" + ",x\n" * 25)
    expect_refusal(tmp_path, "25 fault(s)", "line 11: dialogue_id", "… and 15 more")


PIECES = st.sampled_from(
    [*(name for name in HEADER.strip().split(",")), *',;\t\n\r"a:{}[', "joy", "train", "-1", "1e999", "1:60", "../x"]
    + ["\x00", "null", "\\ud800", "\\u0000", "\udcff"]
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(PIECES, max_size=25).map("".join),
    st.sampled_from([HEADER, "dialogue_id,text\n", ""]),
    st.sampled_from(["csv", "jsonl"]),
)
def test_any_mixture_of_characters_is_read_or_refused(tmp_path_factory, text, header, suffix):
    folder = tmp_path_factory.mktemp("mixture")
    write(folder, f"t.{suffix}", (header + text).encode(errors="surrogateescape"))
    try:
        corpus = read_own(folder, table=f"t.{suffix}")
    except InputError:
        return
    assert corpus.utterances and all("\0" not in row.text + row.media for row in corpus.utterances)


def test_votes_of_a_table_reach_the_store_by_utterance(tmp_path):
    table = "dialogue_id,emotion,text,votes\nd1,joy,hi,joy:2 anger:1\nd2,anger,hi,\nd1,anger,hi,anger:3\n"
    write(tmp_path, "utterances.csv", table)
    found = read_own(tmp_path, validation_share=0.0, test_share=0.0)
    assert found.classes == ("anger", "joy")
    assert found.votes == {"d1_0": pytest.approx([1 / 3, 2 / 3]), "d1_1": [1, 0]}
    assert "no votes beside a label" in kinds(found)
    stored = prepare.to_store("mine", found, found.utterances).votes
    assert stored.shape == (3, 2) and np.isnan(stored[2]).all() and stored[1].tolist() == [1, 0]
    write(tmp_path, "utterances.csv", table.replace("anger:1", "anger:-1"))
    expect_refusal(tmp_path, "utterances.csv, line 2", "negative", validation_share=0.0, test_share=0.0)


def test_a_row_without_an_end_lasts_until_the_next_of_its_file(tmp_path):
    places = ["a,v,1", "a,v,3", "a,v,2", "a,w,1", "a,v,2", "a,v,", "b,v,5"]  # of several dialogues, in any order
    rows = [f"{dialogue},,x,,{media}.mp4,{start},,\n" for dialogue, media, start in (one.split(",") for one in places)]
    write(tmp_path, "utterances.csv", HEADER + "".join(rows))
    corpus = read_own(tmp_path)
    spans = [(row.start_s, row.end_s) for row in corpus.utterances]
    assert spans == [(1, 2), (3, 5), (2, 3), (1, 0), (2, 3), (0, 0), (5, 0)]
    assert "no end: 4 row(s), first utterances.csv, line 2" in [problem.problem for problem in corpus.problems]


def test_rows_whose_place_in_a_file_is_doubtful_are_listed(tmp_path):
    places = ["a,v.mp4,0,2", "a,v.mp4,,4", "a,,4,6", "a,v.mp4,,", "b,w.mp4,,2", "b,,,"]  # a cell merged, or forgotten
    lines = [f"{dialogue},,x,,{place},\n" for dialogue, _, place in (one.partition(",") for one in places)]
    write(tmp_path, "utterances.csv", HEADER + "".join(lines))
    problems = [problem.problem for problem in read_own(tmp_path).problems]
    assert "no start in a file of several rows: 2 row(s), first utterances.csv, line 3" in problems
    assert "a start and no file: 1 row(s), first utterances.csv, line 4" in problems
    write(tmp_path, "utterances.csv", HEADER + EIGHT + "d4,,text alone,,,,,\n")
    assert not {"no start in a file of several rows", "a start and no file"} & set(kinds(read_own(tmp_path)))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("clips/Take  2.mp4", "clips/Take  2.mp4"),
        ("Rec 3.14\u202fPM.mov", "Rec 3.14\u202fPM.mov"),
        ("Rec 3.14\u202fPM.mov", "Rec 3.14 PM.mov"),
        ("会議\u3000一.mp4", "会議\u3000一.mp4"),
        ("clips/a.mp4", "Clips\\A.MP4"),
        (unicodedata.normalize("NFC", "Gespräch.mp4"), unicodedata.normalize("NFD", "Gespräch.mp4")),
    ],
)
def test_a_file_is_found_whatever_its_name(tmp_path, name, written):
    write(tmp_path, name, b"")
    write(tmp_path, "utterances.csv", HEADER + f"a,,x,,{written},,,\n")
    corpus = read_own(tmp_path)
    assert corpus.utterances[0].media == name and "in no row" not in kinds(corpus)
    assert ("name of a file written otherwise" in kinds(corpus)) == (name != written)


def test_a_name_that_several_files_may_mean_is_none_of_them(tmp_path):
    for name in ("a.MP4", "A.mp4"):
        write(tmp_path, name, b"")
    write(tmp_path, "utterances.csv", HEADER + "a,,x,,a.mp4,,,\n")
    assert read_own(tmp_path).utterances[0].media == "a.mp4"  # not there: `prepare` lists it


def test_an_offset_beside_a_duration_is_a_begin(tmp_path):
    for other, meant in (("duration", "start"), ("onset", "end"), ("begin", "end"), ("start_time", "end")):
        (tmp_path / "x.csv").write_text(f"dialogue_id,text,offset,{other}\nd,hi,2,1.5\n")
        with pytest.raises(InputError, match=f"'offset'. Did you mean '{meant}'"):
            read_table(tmp_path / "x.csv")


def test_a_link_to_itself_is_a_clip_that_is_missing(tmp_path):
    write(tmp_path, "utterances.csv", HEADER + EIGHT)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "00.mp4").symlink_to("00.mp4")
    found = read_own(tmp_path)
    assert found.utterances[0].media == "clips/00.mp4"
    assert "no regular file: 1 (clips/00.mp4)" in [problem.problem for problem in found.problems]


def test_rows_of_several_annotators_are_listed(tmp_path):
    given = {"Hello.": ("joy", "anger", "joy"), "How?": ("anger", "joy", "joy")}
    rows = [f"{name},Ann,{text},{emotion},,,,{name}\n"
            for name in ("train", "dev") for text, emotions in given.items() for emotion in emotions]  # fmt: skip
    write(tmp_path, "utterances.csv", HEADER + "".join(rows))
    problems = [problem.problem for problem in read_own(tmp_path).problems]
    assert problems[-1] == "rows that differ in their emotion alone: 4"


def test_errors_that_a_spreadsheet_made_of_texts_are_listed(tmp_path):
    texts = ("#NAME?", "#ИМЯ?", "#ERROR!", "Hm?", "#MeToo!", "Really?!")
    rows = [f"d{n % 3},Ann,{text},{'joy' if n % 2 else 'anger'},,,,\n" for n, text in enumerate(texts)]
    write(tmp_path, "utterances.csv", HEADER + "".join(rows))
    lost = "errors of a spreadsheet in place of a text: 3 rows, first line 2"
    assert lost in [problem.problem for problem in read_own(tmp_path).problems]


def test_names_whose_numbers_do_not_rise_are_listed(tmp_path):
    rows = [f"a,,hi {n},{'joy' if n else 'anger'},clips/dia0_utt{n}.mp4,,,train\n" for n in (2, 0, 1)]
    write(tmp_path, "utterances.csv", HEADER + "".join(rows) + "b,,no,joy,clips/dia1_utt0.mp4,,,dev\n")
    kind = "names of utterances are numbers that do not rise: in 1 dialogue(s), first a"
    assert [problem.problem for problem in read_own(tmp_path).problems] == [kind]


def test_rows_without_media_that_run_back_in_time_are_listed(tmp_path):
    spans = {"Ann": (0, 4), "Bo": (2, 6)}  # tier after tier, as ELAN exports them
    rows = [f"a,{who},at {at},joy,,{at},{at + 3},train\n" for who, starts in spans.items() for at in starts]
    write(tmp_path, "utterances.csv", HEADER + "".join(rows) + "b,Bo,No.,anger,,0,1,train\nc,Bo,Yes.,joy,,,,dev\n")
    back = "out of order: begins at 2 s, the row before (utterances.csv, line 3) at 4 s"
    assert [problem.problem for problem in read_own(tmp_path).problems] == [back]


@pytest.mark.parametrize("starts", [(0, 2, 4), (4, 0, 2)])
@pytest.mark.parametrize("names", [("F000", "F001", "M000"), ("u2", "u0", "u1")])
def test_times_and_not_names_tell_the_order_of_a_table_without_media(tmp_path, names, starts):
    rows = [f"a,,at {at},joy,,{at},{at + 1},train,a_{name}\n" for name, at in zip(names, starts, strict=True)]
    table = f"{HEADER.strip()},utterance_id\n{''.join(rows)}b,Bo,No.,anger,,0,1,dev,b_u0\n"
    write(tmp_path, "utterances.csv", table)
    back = "out of order: begins at 0 s, the row before (utterances.csv, line 2) at 4 s"
    assert [problem.problem for problem in read_own(tmp_path).problems] == [back] * (starts[0] > 0)
