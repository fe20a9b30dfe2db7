"""Subtitles beside videos: cues become utterances; faults are reported with their line."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from tests.helpers.clips import tone, write_clip
from tests.helpers.own_files import expect_refusal as refuse
from tests.helpers.own_files import kinds, read_subtitles, write

SRT = """1
00:00:01,000 --> 00:00:02,500
ANNA: <i>Hello,</i>
you.

2
00:00:02,600 --> 00:00:04,000 X1:0
Speaker 2: Don't &amp; can't.

3
00:00:05,000 --> 00:00:06,000
he replied: nothing
"""

VTT = """WEBVTT - a title

NOTE
Bob: not spoken

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:left
<v.loud Bob Smith>Hi <b>there</b>.</v>

00:03.000 --> 01:00:04.250
Anna: yes
"""


def expect_refusal(folder, *parts, **options):
    refuse(folder, *parts, table="subtitles", **options)


def test_srt_cues_become_utterances_of_one_dialogue(tmp_path):
    write(tmp_path, "talks/monday.srt", SRT)
    write(tmp_path, "talks/monday.mp4", b"")
    corpus = read_subtitles(tmp_path)

    assert (corpus.classes, corpus.protocol) == ((), "own subtitles, unlabelled")
    rows = [(u.utterance_id, u.position, u.speaker, u.text, u.start_s, u.end_s) for u in corpus.utterances]
    assert rows == [
        ("talks/monday_1", 0, "ANNA", "Hello, you.", 1.0, 2.5),
        ("talks/monday_2", 1, "Speaker 2", "Don't & can't.", 2.6, 4.0),
        ("talks/monday_3", 2, "", "he replied: nothing", 5.0, 6.0),
    ]
    assert {(u.dialogue_id, u.media, u.split) for u in corpus.utterances} == {
        ("talks/monday", "talks/monday.mp4", "test")
    }


def test_vtt_voices_notes_and_styles(tmp_path):
    write(tmp_path, "a.vtt", VTT.replace("\n", "\r\n"))
    write(tmp_path, "a.mkv", b"")
    rows = [(u.speaker, u.text, u.start_s, u.end_s) for u in read_subtitles(tmp_path, speaker_prefix=False).utterances]
    assert rows == [("Bob Smith", "Hi there.", 1.0, 2.5), ("", "Anna: yes", 3.0, 3604.25)]


def test_vtt_cue_ends_at_an_empty_line_and_not_at_a_blank_one(tmp_path):
    # YouTube's captions: the line before, here a blank, stays above the new one; then both for a moment.
    first = "00:00:00.000 --> 00:00:01.000 align:start position:0%\n \nhello<00:00:00.400><c> there</c>\n\n"
    write(tmp_path, "a.mkv", b"")
    write(tmp_path, "a.vtt", f"WEBVTT\nKind: captions\n\n{first}00:00:01.000 --> 00:00:01.010\nhello there\n \n")
    corpus = read_subtitles(tmp_path)
    assert [(u.text, u.end_s) for u in corpus.utterances] == [("hello there", 1.0), ("hello there", 1.01)]
    assert "empty cue" not in kinds(corpus)


def test_speaker_prefix_is_a_setting(tmp_path):
    write(tmp_path, "a.srt", SRT)
    corpus = read_subtitles(tmp_path, speaker_prefix=False)
    assert [u.speaker for u in corpus.utterances] == ["", "", ""] and corpus.utterances[0].text == "ANNA: Hello, you."


@pytest.mark.parametrize(
    ("text", "speaker", "rest"),
    [
        ("Dr. Ross: no", "Dr. Ross", "no"),
        ("[ANNA]: no", "ANNA", "no"),
        ("- Anna: no", "Anna", "no"),
        ("Émile: no", "Émile", "no"),
        ("at 12:30 then", "", "at 12:30 then"),
        ("And then he spoke to me: no", "", "And then he spoke to me: no"),
        ("Anna:", "", "Anna:"),
        ("-5 degrees", "", "-5 degrees"),
        ("{\\an8}up here", "", "up here"),
        ("1 < 2 > 0", "", "1 < 2 > 0"),
    ],
)
def test_speaker_is_taken_from_text(tmp_path, text, speaker, rest):
    write(tmp_path, "a.srt", f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n")
    (row,) = read_subtitles(tmp_path).utterances
    assert (row.speaker, row.text) == (speaker, rest)


def test_odd_cues_are_reported_and_kept_where_they_have_a_text(tmp_path):
    write(
        tmp_path,
        "a.srt",
        "1\n-00:00:01,000 --> 00:00:02,000\nearly\n\n"
        "2\n00:00:01,500 --> 00:00:03,000\noverlapping\n\n"
        "3\n00:00:04,000 --> 00:00:05,000\n\n"
        "4\n00:00:07,000 --> 00:00:06,000\nbackwards\n\n"
        "5\n00:00:03,000 --> 00:00:03,500\n- one\n- two\n",
    )
    write(tmp_path, "a.mp4", b"")
    corpus = read_subtitles(tmp_path)

    rows = [(u.utterance_id, u.position, u.start_s, u.end_s) for u in corpus.utterances]
    assert rows == [("a_1", 0, -1.0, 2.0), ("a_2", 1, 1.5, 3.0), ("a_5", 2, 3.0, 3.5), ("a_4", 3, 7.0, 6.0)]
    assert [(each.where, each.problem) for each in corpus.problems[:3]] == [
        ("a.srt, line 10", "empty cue: number 3"),
        ("a.srt, line 17", "two speakers in one cue: lines that begin with a dash"),
        ("a.srt, line 6", "overlap: begins 0.500 s before the end of a.srt, line 2"),
    ]
    assert [(note.action, note.count, note.why) for note in corpus.notes] == [
        ("dropped", 1, "without a text"),
        ("kept", 1, "overlap with the one before"),
    ]
    # Spans that begin before the file or end before they begin are `prepare`'s to tell: it knows the file.


def test_srt_text_may_hold_blank_lines_numbers_and_no_blank_line_after(tmp_path):
    write(
        tmp_path, "a.srt", "1\n00:00:01,000 --> 00:00:02,000\none\n\n42\nmore\n2\n00:00:03,000 --> 00:00:04,000\n1984\n"
    )
    assert [u.text for u in read_subtitles(tmp_path).utterances] == ["one 42 more", "1984"]


def test_labels_come_from_a_table_beside(tmp_path):
    write(tmp_path, "a.srt", SRT)
    write(tmp_path, "b.srt", SRT)
    labels = "utterance_id,emotion,split,speaker\na_1,joy,train,\na_3,anger,,Anna\nb_2,joy,dev,\n"
    write(tmp_path, "labels.csv", labels)
    corpus = read_subtitles(tmp_path, labels="labels.csv")

    assert [u.emotion for u in corpus.utterances] == ["joy", "", "anger", "", "joy", ""]
    assert [u.split for u in corpus.utterances] == ["train"] * 3 + ["validation"] * 3
    assert (corpus.utterances[0].speaker, corpus.utterances[2].speaker) == ("ANNA", "Anna")
    assert (corpus.problems[-1].where, read_subtitles(tmp_path).problems[-1].where) == ("labels.csv", "subtitles")

    write(tmp_path, "labels.csv", labels + "a_9,joy,,\na_1,joy,,\n")
    expect_refusal(tmp_path, "labels.csv", "line 5: no cue 'a_9'", "line 6: 'a_1' is there twice", labels="labels.csv")
    write(tmp_path, "labels.csv", "utterance_id,label\na_1,joy\n")
    expect_refusal(tmp_path, "no column emotion; found utterance_id, label", labels="labels.csv")


def test_videos_and_subtitles_without_each_other_are_reported(tmp_path):
    write(tmp_path, "a.en.srt", SRT)
    for name in ("a.mp4", "b.mp4", "._a.mp4"):
        write(tmp_path, name, b"")
    write(tmp_path, "c.vtt", VTT)
    corpus = read_subtitles(tmp_path)

    assert {u.dialogue_id: u.media for u in corpus.utterances} == {"a.en": "a.mp4", "c": ""}
    assert kinds(corpus)[:2] == ["no video beside it", "no subtitles"]
    assert corpus.problems[1].problem == "no subtitles: 1 (b.mp4)"


@pytest.mark.parametrize("name", ["a.MTS", "a.m2ts", "a.wmv", "a.3gp", "a.flv", "a.ogv", "a.MOV", "a", "a.dat", "a.x1"])
def test_video_has_any_suffix(tmp_path, name):
    """A known suffix is taken as it is, so that damage is reported; any other file is opened."""
    write(tmp_path, "a.srt", SRT)
    write_clip(tmp_path / name, sound=tone(1), format="mpegts")
    corpus = read_subtitles(tmp_path)
    assert {row.media for row in corpus.utterances} == {name}
    assert not {"no video beside it", "no subtitles", "files not used"} & set(kinds(corpus))


def test_every_other_file_is_listed_as_not_used(tmp_path):
    write(tmp_path, "a.srt", SRT)
    write_clip(tmp_path / "a.mp4", sound=tone(1))
    write_clip(tmp_path / "more.unknown", sound=tone(1), format="matroska")
    (tmp_path / "deep").mkdir()
    for name in ("a.jpg", "deep/notes.docx", "a.nfo", "deep/b.MP4", ".DS_Store"):
        write(tmp_path, name, b"no media")
    os.mkfifo(tmp_path / "b.mp4")
    (tmp_path / "c.mp4").mkdir()
    corpus = read_subtitles(tmp_path)
    assert {row.media for row in corpus.utterances} == {"a.mp4"}
    unused = {problem.kind: problem.problem.partition(": ")[2] for problem in corpus.problems}
    assert unused["no subtitles"] == "2 (deep/b.MP4, more.unknown)"
    assert unused["no regular file"] == "1 (b.mp4)"
    assert unused["files not used"] == "3 (a.jpg, a.nfo, deep/notes.docx)"


def test_fifo_beside_subtitles_is_no_video_and_never_waits(tmp_path):
    write(tmp_path, "a.srt", SRT)
    os.mkfifo(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "b.srt")
    corpus = read_subtitles(tmp_path)
    assert {row.media for row in corpus.utterances} == {""}
    assert {"no video beside it", "no regular file"} <= set(kinds(corpus))


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"a.mp4": ""}, ["no .srt or .vtt file below it, found 1 media file(s)"]),
        ({"a.srt": "hello"}, ["a.srt has no cue: no line such as 00:00:01,000 --> 00:00:02,500"]),
        ({"a.srt": "1\n00:00:01,000 --> 00:00:02,000\n\n"}, ["no cue of 1 subtitle file(s) has a text"]),
        ({"a.srt": "1\n0:00:01,0 --> soon\nx\n"}, ["a.srt: 1 fault(s)", "line 2: found the time(s) 'soon'; expected"]),
        ({"a.srt": "1\n00:00:01,000 -->\nx\n"}, ["line 2: found the time(s) '00:00:01,000 -->'"]),
        ({"a.srt": "1\n00:99:01,000 --> 00:99:02,000\nx\n"}, ["'00:99:01,000', '00:99:02,000'"]),
        ({"a.vtt": SRT}, ["a.vtt, line 1: expected WEBVTT, found '1'"]),
        ({"a.srt": b"1\n00:00:01,000 --> 00:00:02,000\n\xff\n"}, ["a.srt, line 3: the byte 0xff"]),
        ({"a.srt": SRT, "a.mp4": "", "a.wav": ""}, ["a.srt: a.mp4, a.wav have its name"]),
        ({"a.srt": SRT, "a.en.srt": SRT, "a.mp4": ""}, ["a.en.srt and a.srt in ", "both belong to a.mp4"]),
    ],
)
def test_faulty_folder_is_refused_with_file_and_line(tmp_path, files, parts):
    for name, content in files.items():
        write(tmp_path, name, content)
    expect_refusal(tmp_path, str(tmp_path), *parts)


def test_video_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    write(tmp_path / "raw", "a.srt", SRT)
    write(tmp_path, "secret.mp4", b"")
    (tmp_path / "raw/a.mp4").symlink_to(tmp_path / "secret.mp4")
    expect_refusal(tmp_path / "raw", "a.srt, line 2: media 'a.mp4' leads to")


def test_text_before_the_first_cue_is_reported(tmp_path):
    write(tmp_path, "a.srt", "Subtitles by me\n\n" + SRT)
    assert read_subtitles(tmp_path).problems[0].problem == "text before the first cue: 'Subtitles by me'"


PIECES = st.sampled_from(
    ["1\n", "\n", "\r", "00:00:01,000 --> 00:00:02,000\n", "00:01.5 --> 00:02.0 x\n", "-00:05,1 --> 00:01,1\n", "-->"]
    + ["ANNA: hi\n", "<v A>", "- a\n", "\x00", "WEBVTT\n", "NOTE\n", "\ufeff", "{\\an8}", "&amp;", "&#xD800;", "&#0;"]
)


@settings(max_examples=75, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["srt", "vtt"]))
def test_any_mixture_of_lines_is_read_or_refused(tmp_path_factory, text, suffix):
    folder = tmp_path_factory.mktemp("mixture")
    write(folder, f"a.{suffix}", text)
    try:
        corpus = read_subtitles(folder)
    except InputError:
        return
    for row in corpus.utterances:
        assert row.text.strip() and "\0" not in row.text + row.speaker
        row.text.encode()
