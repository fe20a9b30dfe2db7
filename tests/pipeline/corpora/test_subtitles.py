"""Subtitles beside videos: cues become utterances; faults are reported with their line."""

import os
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from tests.helpers.clips import tone, write_clip
from tests.helpers.own_files import cues, kinds, problems_of, read_subtitles, spoken, write
from tests.helpers.own_files import expect_refusal as refuse

SRT = """1
00:00:01,000 --> 00:00:02,500
ANNA: <i>Hello,</i>
you.
ANNA: <b>Bye.</b>

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
        ("talks/monday_1", 0, "ANNA", "Hello, you. Bye.", 1.0, 2.5),
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
    first = "00:00:00.000 --> 00:00:01.000 align:start position:0%\n \nhello<00:00:00.400><c> there</c>\n\n"
    write(tmp_path, "a.mp4", b"")
    write(tmp_path, "a.vtt", f"WEBVTT\nKind: captions\n\n{first}lost\n\n00:00:01.000 --> 00:00:02.000\nyou\n \n")
    corpus = read_subtitles(tmp_path)
    assert [(u.text, u.end_s) for u in corpus.utterances] == [("hello there", 1.0), ("you", 2.0)]
    assert (corpus.problems[0].where, corpus.problems[0].problem) == ("a.vtt, line 8", "text outside of a cue: 'lost'")


def test_speaker_prefix_is_a_setting(tmp_path):
    write(tmp_path, "a.srt", SRT)
    corpus = read_subtitles(tmp_path, speaker_prefix=False)
    assert [u.speaker for u in corpus.utterances] == ["", "", ""] and corpus.utterances[
        0
    ].text == "ANNA: Hello, you. ANNA: Bye."


@pytest.mark.parametrize(
    ("text", "speaker", "rest"),
    [
        ("Dr. Ross: no", "Dr. Ross", "no"),
        ("[ANNA]: no", "ANNA", "no"),
        ("- Anna: no", "Anna", "no"),
        ("Émile: no", "Émile", "no"),
        ("Maria de la Cruz: no", "Maria de la Cruz", "no"),
        ("anna: no", "anna", "no"),
        ("Anna : non", "Anna", "non"),
        ("Jo Berg (she/her): no", "Jo Berg", "no"),
        ("Anna (whispering): no", "Anna", "no"),
        ("Anna (00:01): no", "Anna", "no"),
        ("[00:00:01] Anna: no", "Anna", "no"),
        ("**Anna:** no", "Anna", "no"),
        ("**Anna**: no", "Anna", "no"),
        ("**no**, f**k", "", "**no**, f**k"),
        ("王芳∶不", "王芳", "不"),
        ("At 10:30: no", "", "At 10:30: no"),
        ("李雷: 不", "李雷", "不"),
        ("李雷:不", "李雷", "不"),
        ("王芳：我很高兴。", "王芳", "我很高兴。"),
        ("【王芳】：不", "王芳", "不"),
        ("김민수: 아니", "김민수", "아니"),
        ("أحمد: لا", "أحمد", "لا"),
        ("\u202bأحمد: لا", "أحمد", "لا"),
        ("अनिता: नहीं", "अनिता", "नहीं"),
        ("Спикер №1: нет", "Спикер №1", "нет"),
        (">> Anna: no", "Anna", "no"),
        ("ANNA:\nno", "ANNA", "no"),
        ("SPEAKER_00: no", "SPEAKER_00", "no"),
        ("SPEAKER_00|no", "SPEAKER_00", "no"),
        ("[SPEAKER_00]: no", "SPEAKER_00", "no"),
        ("[SPEAKER_00] no", "SPEAKER_00", "no"),
        ("(speaker 0) no", "speaker 0", "no"),
        ("[Anna] no", "Anna", "no"),
        ("（アンナ）いや", "アンナ", "いや"),
        ('Dwayne "The Rock" Johnson: no', 'Dwayne "The Rock" Johnson', "no"),
        ("[12:30] no", "", "[12:30] no"),
        ("(Anna)\nno", "Anna", "no"),
        ("<Спикер №1>нет", "Спикер №1", "нет"),
        ("<v Anna>no</v>", "Anna", "no"),
        ("<v.loud.first Anna &amp; Bo>no", "Anna & Bo", "no"),
        ("at 12:30 then", "", "at 12:30 then"),
        ("12:30", "", "12:30"),
        ("https://example.org", "", "https://example.org"),
        ("Why? I tell you: no", "", "Why? I tell you: no"),
        ("And so at last he spoke to me: no", "", "And so at last he spoke to me: no"),
        ("Anna:", "", "Anna:"),
        (": no", "", ": no"),
        ("-5 degrees", "", "-5 degrees"),
        ("{\\an8}up here", "", "up here"),
        ("1 < 2 > 0", "", "1 < 2 > 0"),
    ],
)
def test_opening_that_repeats_is_a_speaker_in_any_script(tmp_path, text, speaker, rest):
    cue = "{0}\n00:00:0{0},000 --> 00:00:0{0},500\n{1}\n\n"
    write(tmp_path, "a.srt", cue.format(1, text) + cue.format(2, "Why") + cue.format(3, text))
    one, _, three = read_subtitles(tmp_path).utterances
    assert {(one.speaker, one.text), (three.speaker, three.text)} == {(speaker, rest)}


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
    assert rows == [
        ("a_1", 0, -1.0, 2.0),
        ("a_2", 1, 1.5, 3.0),
        ("a_5.1", 2, 3.0, 3.25),
        ("a_5.2", 3, 3.25, 3.5),
        ("a_4", 4, 7.0, 6.0),
    ]
    assert [(each.where, each.problem) for each in corpus.problems[:4]] == [
        ("a.srt, line 17", "cue that begins before the one above it: 1 time(s)"),
        ("a.srt, line 17", "several speakers in one cue: ?, ?"),
        ("a.srt, line 10", "empty cue: a_3"),
        ("a.srt, line 6", "overlap: begins 0.500 s before the end of a.srt, line 2"),
    ]
    assert [(note.action, note.count, note.why) for note in corpus.notes] == [
        ("dropped", 1, "without a text"),
        ("repaired", 1, "split by speaker"),
        ("kept", 1, "overlap with the one before"),
    ]
    # Spans that begin before the file or end before they begin are `prepare`'s to tell: it knows the file.


def test_srt_text_may_hold_blank_lines_numbers_and_no_blank_line_after(tmp_path):
    write(
        tmp_path, "a.srt", "1\n00:00:01,000 --> 00:00:02,000\none\n\n42\nmore\n2\n00:00:03,000 --> 00:00:04,000\n1984\n"
    )
    assert [u.text for u in read_subtitles(tmp_path).utterances] == ["one 42 more", "1984"]


UNUSUAL = {"no emotion label", "no video beside it"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_line_ends_and_encodings_decide_nothing(tmp_path, end, encoding):
    text = cues("ANNA: What a day.", "BO: Für dich?\nJa.", "ANNA: 王芳")
    write(tmp_path, "a.srt", text.replace("\n", end).encode(encoding))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [("ANNA", "What a day."), ("BO", "Für dich? Ja."), ("ANNA", "王芳")]
    assert set(kinds(corpus)) == UNUSUAL


def test_youtubes_rolling_captions_become_one_utterance_a_line(tmp_path):
    lines = ["so I opened the letter", "and honestly I could not", "believe it", "no", "no no"]
    text, shown = "WEBVTT\nKind: captions\nLanguage: en\n\n", " "
    for number, line in enumerate(lines):
        start = 1 + 2.41 * number
        first, *others = line.split()
        timed = first + "".join(f"<00:00:{start + 0.1:06.3f}><c> {word}</c>" for word in others)
        for begin, end, top, bottom in ((start, start + 2.4, shown, timed), (start + 2.4, start + 2.41, line, " ")):
            text += f"00:00:{begin:06.3f} --> 00:00:{end:06.3f} align:start position:0%\n{top}\n{bottom}\n\n"
        shown = line
    write(tmp_path, "a.mp4", b"")
    for name, line, content in (("a.vtt", 5, text), ("a.srt", 1, text.partition("en\n\n")[2])):
        path = write(tmp_path, name, content)
        corpus = read_subtitles(tmp_path)
        assert [row.text for row in corpus.utterances] == lines
        assert [row.start_s for row in corpus.utterances] == [pytest.approx(1 + 2.41 * number) for number in range(5)]
        assert [row.end_s - row.start_s for row in corpus.utterances] == [pytest.approx(2.4)] * 5
        assert problems_of(corpus, "rolling captions") == [
            f"{name}, line {line}: rolling captions: 10 cues show 5 texts; merged: each text once"
        ]
        assert len(problems_of(corpus, "merged cue")) == 5
        assert [(note.action, note.what, note.count) for note in corpus.notes] == [("dropped", "cues", 5)]
        path.unlink()


def test_a_line_that_stays_over_a_pause_of_rolling_captions_is_there_once(tmp_path):
    shown = ["one two", "one two\nthree four", "three four\nfive six", "five six\nseven", "seven"]
    starts = [1, 3, 5, 40, 50]
    texts = [
        f"{at}\n00:00:{at:02d},000 --> 00:00:{at + 2:02d},000\n{text}\n" for at, text in zip(starts, shown, strict=True)
    ]
    write(tmp_path, "a.mp4", b"")
    write(tmp_path, "a.srt", "\n".join(texts))
    rows = read_subtitles(tmp_path).utterances
    assert [(row.start_s, row.text) for row in rows] == [
        *[(1, "one two"), (3, "three four"), (5, "five six"), (40, "seven")],
        (50, "seven"),  # all of a cue again, long after: said twice
    ]


@pytest.mark.parametrize(
    ("shown", "texts"),
    [
        ("A b c d|c d e f|e f g h|g h i j|i j k l|k l m n", ["A b c d", "e f", "g h", "i j", "k l", "m n"]),
        ("A b|A b c|A b c d|A b c d e|F|F g", ["A b c d", "e", "F g"]),  # a word is added
        ("A b|A b c|Yes|Yes it|F|F g|F g h", ["A b c", "Yes", "Yes it", "F g h"]),  # one word: said again
    ],
)
def test_words_that_stay_over_a_pause_of_rolling_captions_are_there_once(tmp_path, shown, texts):
    starts = [at + 5 * (at > 2) for at in range(1 + shown.count("|"))]  # a pause before the fourth cue
    both = zip(starts, shown.split("|"), strict=True)
    blocks = [f"{at}\n00:00:{at:02d},000 --> 00:00:{at + 1:02d},000\n{text}\n" for at, text in both]
    write(tmp_path, "a.srt", "\n".join(blocks))
    assert [row.text for row in read_subtitles(tmp_path).utterances] == texts


@pytest.mark.parametrize(
    ("shown", "texts"),
    [
        (["A b.\nC d.", "C d.\nE f.", "E f.\nG h."], ["A b. C d.", "E f.", "G h."]),  # two lines roll up
        (["A", "A b", "A b c", "D", "D e"], ["A b c", "D e"]),  # a word is added
        (["A b.\nC", "A b.\nC d", "A b.\nC d e", "C d e\nF", "C d e\nF g"], ["A b. C d e", "F g"]),
        (["A b c d", "c d e f", "e f g h"], ["A b c d", "e f", "g h"]),  # windows that overlap by words
        (["Le", "Let", "Let us g", "Let us go.", "N", "No", "No!"], ["Let us go.", "No!"]),  # typed by letters
        (["Ab", "Abc.\nD", "Abc.\nDe", "De\nF", "De\nFg", "Fg\nH", "Fg\nHi"], ["Abc. De", "Fg", "Hi"]),
    ],
)
def test_captions_that_share_words_are_merged(tmp_path, shown, texts):
    write(tmp_path, "a.srt", cues(*shown))
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == texts
    assert len(problems_of(corpus, "rolling captions")) == 1


def test_typed_captions_last_from_their_first_letter_and_two_such_words_do_not_make_them(tmp_path):
    write(tmp_path, "a.mp4", b"")
    write(tmp_path, "a.srt", cues("S", "So wh", "So what", "so what?", "Yes."))
    corpus = read_subtitles(tmp_path)
    assert [(row.utterance_id, row.text, row.start_s, row.end_s) for row in corpus.utterances] == [
        ("a_1", "So what", 1.0, 6.5),
        ("a_4", "so what?", 7.0, 8.5),
        ("a_5", "Yes.", 9.0, 10.5),
    ]
    assert problems_of(corpus, "rolling captions")[0].startswith("a.srt, line 2: rolling captions: 5 cues show 3 texts")
    write(tmp_path, "a.srt", cues("Go", "Gone", "Where to?", "Out.", "Yes", "Yesterday", "Well", "Now"))
    assert len(read_subtitles(tmp_path).utterances) == 8


def test_sentences_that_were_cut_into_words_are_reported(tmp_path):
    """whisper.cpp's -ml 1, CapCut."""
    words = "so what do you want from me today then I wonder".split()
    write(tmp_path, "a.srt", cues(*words))
    assert problems_of(read_subtitles(tmp_path), "cues of a single word")[0].startswith(
        "a.srt: cues of a single word: 11 of 11; each is an utterance"
    )
    for texts in (words[:9], ["Hello there."] * 3 + words[:10], ["你好吗", "我很好"] * 6):
        write(tmp_path, "a.srt", cues(*texts))
        assert not problems_of(read_subtitles(tmp_path), "cues of a single word")


HIGHLIGHTS = {
    "whisper": lambda words: [(n, f"<u>{word}</u>") for n, word in enumerate(words)],
    "colour": lambda words: [(n, f'<font color="#00ff00">{word}</font>') for n, word in enumerate(words)],
    "plain between": lambda words: [
        each for n, word in enumerate(words) for each in ((n, f"<u>{word}</u>"), (n, word))
    ],
}


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
@pytest.mark.parametrize("how", HIGHLIGHTS)
def test_words_that_are_highlighted_one_after_the_other_are_one_utterance(tmp_path, name, how):
    """Whisper's --highlight_words, WhisperX, karaoke: the same sentence in a cue for each of its words."""
    spoken_lines, text, ends = ["Hello there my friend", "No", "No", "That is so"], "", []
    for number, sentence in enumerate(spoken_lines):
        words, begin = sentence.split(), 2.0 * number
        marked = HIGHLIGHTS[how](words)
        for place, (word, mark) in enumerate(marked):
            shown = " ".join([*words[:word], mark, *words[word + 1 :]])
            start_s, end_s = begin + 0.1 * place, begin + 0.1 * (place + 1)
            text += f"00:00:{start_s:06.3f} --> 00:00:{end_s:06.3f}\n{shown}\n\n"
        ends.append((pytest.approx(begin), pytest.approx(begin + 0.1 * len(marked))))
    write(tmp_path, name, "WEBVTT\n\n" * name.endswith("vtt") + text)
    write(tmp_path, "a.mp4", b"")
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == spoken_lines
    assert [(row.start_s, row.end_s) for row in corpus.utterances] == ends
    cues_of = text.count("-->")
    [problem] = problems_of(corpus, "highlighted words")
    assert problem.endswith(f"highlighted words: {cues_of} cues show 4 texts; merged: each text once")
    assert len(problems_of(corpus, "merged cue")) == cues_of - 4
    assert [(note.action, note.what, note.count) for note in corpus.notes] == [("dropped", "cues", cues_of - 4)]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("<i>Go!</i>", "<i>Go!</i>"),
        ('<font color="#ffff00">Go!</font>', '<font color="#00ffff">Go!</font>'),  # the colour is the speaker
        ("Go!", "<i>Go!</i>"),  # on the telephone
        ("Go!", "{\\an8}Go!"),
        ("Go on now!", "<b>Go on now!</b>"),
        ("Go!", "Go! "),
    ],
)
def test_a_text_that_is_repeated_in_mark_up_of_the_whole_line_is_spoken_twice(tmp_path, one, two):
    text = "".join(
        f"{number + 1}\n00:00:0{number},000 --> 00:00:0{number + 1},000\n{line}\n\n"
        for number, line in enumerate(["Well.", one, two, "Where to?"])
    )
    write(tmp_path, "a.srt", text)
    corpus = read_subtitles(tmp_path)
    assert len(corpus.utterances) == 4 and not problems_of(corpus, "highlighted words")
    assert corpus.utterances[1].text == corpus.utterances[2].text


def test_text_that_is_spoken_twice_stays_and_is_reported(tmp_path):
    texts = ["Go!", "Go!", "Where to?", "Out.", "Out there?", "Yes.", "He said\nyes.", "yes.\nNo."]
    write(tmp_path, "a.srt", cues(*texts))
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == [" ".join(text.split()) for text in texts]
    assert problems_of(corpus, "cue that repeats lines of the cue before") == [
        "a.srt, line 6: cue that repeats lines of the cue before: 2 time(s); kept"
    ]


def test_duplicate_and_overlapping_cues(tmp_path):
    text = cues("one", "two")
    twice = text.replace("2\n", "3\n", 1).partition("\n\n")[2]
    write(tmp_path, "a.srt", text + "\n" + twice.replace("two", "three") + "\n" + twice.replace("3\n", "4\n", 1))
    write(tmp_path, "a.mp4", b"")
    corpus = read_subtitles(tmp_path)
    assert [(row.utterance_id, row.text) for row in corpus.utterances] == [
        ("a_1", "one"),
        ("a_2", "two"),
        ("a_3", "three"),
    ]
    assert problems_of(corpus, "duplicate cue")[0].startswith(
        "a.srt, line 14: duplicate cue: times and text of the cue in line 6"
    )
    assert len(problems_of(corpus, "overlap")) == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('<b>Hi</b> <font color="red" size=3>there</font>', "Hi there"),
        ("<c.yellow.bg_blue>Hi</c> <00:00:01.500>there", "Hi there"),
        ("{\\an8}{\\pos(1,2)}Hi {b}there{/b} {y:i}you", "Hi there you"),
        ("Hi<br>there\\Nyou\\hall", "Hi there you all"),
        ("Hi&nbsp;&lt;there&gt; &amp;#39;you&amp;#39; R&amp;B", "Hi <there> 'you' R&B"),
        ("R&D, AT&T, rock&region", "R&D, AT&T, rock&region"),
        ("<lang de>Hallo</lang> <ruby>you</ruby>", "Hallo you"),
        ("C:\\new \u200fabc\u202c", "C:\\new abc"),
        ("left --> right", "left --> right"),
        ("<|en|><|transcribe|><|0.00|> Hi there<|2.34|>", "Hi there"),
        ("a <| b |> c", "a <| b |> c"),
    ],
)
def test_markup_is_no_text(tmp_path, line, text):
    write(tmp_path, "a.srt", cues(line))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [("", text)] and set(kinds(corpus)) == UNUSUAL


@pytest.mark.parametrize(
    ("line", "text", "problem"),
    [
        ("<laughs> Hi", "Hi", "unknown tag: '<laughs>'; left out"),
        ("漢<rt>kan</rt>字", "漢字", "reading of a word, or drawing: '<rt>kan</rt>'; left out"),
        ("{\\p1}m 0 0 l 9 9{\\p0}Hi", "Hi", "reading of a word, or drawing: '{\\\\p1}m 0 0 l 9 9{\\\\p0}'; left out"),
        ("\x1b[31mHi\x07", "[31mHi", "control character: '\\x1b'; taken for a blank"),
        ("caf\ufffd", "caf\ufffd", "character lost: U+FFFD, an earlier conversion did not know its encoding; kept"),
    ],
)
def test_what_is_left_out_of_a_text_is_listed(tmp_path, line, text, problem):
    write(tmp_path, "a.srt", cues(line))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [("", text)]
    assert problems_of(corpus, problem.partition(": ")[0]) == [f"a.srt, line 2: {problem}"]


def test_vtt_text_outside_of_cues_is_listed_and_notes_are_counted(tmp_path):
    text = """WEBVTT
X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000
not a setting

STYLE
::cue { color: red }

NOTE one

00:01.000 --> 00:02.000 align:start Hello
first

and this

NOTE
two

2
00:03.000 --> 00:04.000
second
00:05.000 --> 00:06.000
third
"""
    write(tmp_path, "a.vtt", text)
    corpus = read_subtitles(tmp_path)
    assert [(row.utterance_id, row.text) for row in corpus.utterances][0] == ("a_line10", "first")
    found = [(each.where, each.problem) for each in corpus.problems if each.kind not in UNUSUAL]
    assert found == [
        ("a.vtt, line 10", "text after a cue's times: 'Hello'"),
        (
            "a.vtt, line 1",
            "times count from another clock than the video's: 'X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000'",
        ),
        ("a.vtt, line 1", "text before the first cue: 'not a setting'"),
        ("a.vtt, line 13", "text outside of a cue: 'and this'"),
        ("a.vtt, line 8", "comment (NOTE): 2 time(s)"),
        ("a.vtt, line 21", "no empty line before a cue: 1 time(s)"),
        ("a.vtt, line 10", "cue numbers unusable: a cue without a number"),
    ]


def test_header_of_the_next_segment_of_a_stream_is_no_text(tmp_path):
    """Segments of HLS that were joined: the first need not end with an empty line."""
    segment = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:0{0}.000 --> 00:0{0}.900\n{0}!\n"
    write(tmp_path, "a.vtt", segment.format(1) + segment.format(3))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [("", "1!"), ("", "3!")]
    [problem] = problems_of(corpus, "text outside of a cue")
    assert problem.startswith("a.vtt, line 6: ") and "WEBVTT X-TIMESTAMP-MAP" in problem


@pytest.mark.parametrize(
    "times",
    [
        "00:00:01,000 -> 00:00:02,000",
        "00:00:01,000 --&gt; 00:00:02,000",
        "00:00:01,000 00:00:02,000",
        "0:00:01.000,0:00:02.000",
        "00: 00: 01, 000 -> 00: 00: 02, 000",
        "００：００：０１，０００ ー＞ ００：００：０２，０００",
        "00:00:01,000",
        "00:00:01:12 --> 00:00:02:00",
        "00:00:01;120 --> 00:00:02,000",
        "00:00:61,000 --> 00:01:02,000",
        "00:00:01,000 --> 00:00:02,000 --> 00:00:03,000",
        "--> 00:00:02,000",
        "-->",
    ],
)
def test_times_that_players_do_not_read_are_refused_and_no_text(tmp_path, times):
    write(tmp_path, "a.srt", cues("one", "two").replace("00:00:03,000 --> 00:00:04,500", times))
    expect_refusal(tmp_path, "a.srt: 1 fault(s)", "line 6: found the time(s)", "expected 00:00:01,000 --> 00:00:02,500")


@pytest.mark.parametrize(
    ("times", "start_s", "end_s"),
    [
        ("01:30,25 --> 100:01:31,5", 90.25, 360091.5),
        ("0:1:2.123456 --> 0:01:03", 62.123456, 63.0),
        ("00:00:01.000-->00:00:02,000", 1.0, 2.0),
        ("-00:00:01,000 --> 00:00:00,000", -1.0, 0.0),
    ],
)
def test_times_in_other_ways_of_writing(tmp_path, times, start_s, end_s):
    write(tmp_path, "a.mp4", b"")
    write(tmp_path, "a.srt", f"1\n{times}\nHi\n")
    corpus = read_subtitles(tmp_path)
    (row,) = corpus.utterances
    assert (row.start_s, row.end_s) == (start_s, end_s) or "span empty" in kinds(corpus)
    assert ("time without three decimals" in kinds(corpus)) == ("000" not in times)


LABELS = "utterance_id,emotion,split\n"


def test_labels_by_number_mean_the_number_in_the_file(tmp_path):
    write(tmp_path, "a.srt", cues("one", "two", "four", "five", numbers=[1, 2, 4, 5]))
    write(tmp_path, "b.srt", cues("nil", "one", numbers=[0, 1]))
    write(
        tmp_path,
        "labels.csv",
        LABELS + "a_4,joy,train\na_5,anger,train\nb_0,anger,test\nb_1,joy,dev\n".replace("dev", "test"),
    )
    corpus = read_subtitles(tmp_path, labels="labels.csv", validation_share=0.0)
    assert [(row.text, row.emotion) for row in corpus.utterances] == [
        *[("one", ""), ("two", ""), ("four", "joy"), ("five", "anger"), ("nil", "anger"), ("one", "joy")]
    ]
    assert problems_of(corpus, "cue numbers are not 1, 2, 3, …") == [
        "a.srt, line 10: cue numbers are not 1, 2, 3, …: 4 comes after 2; the file's own numbers are kept",
        "b.srt, line 2: cue numbers are not 1, 2, 3, …: 0 comes first; the file's own numbers are kept",
    ]
    write(tmp_path, "labels.csv", LABELS + "a_3,joy,test\n")
    expect_refusal(tmp_path, "line 2: no cue 'a_3'; expected <subtitle file>_<cue's number>", labels="labels.csv")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (cues("one", "two", "three", numbers=[1, 2, 2]), "number 2 is there 2 times (a.srt, line 6)"),
        (cues("one", "two", "three").replace("2\n00", "00"), "a cue without a number (a.srt, line 5)"),
    ],
)
def test_labels_by_numbers_that_name_no_single_cue_are_refused(tmp_path, text, fault):
    write(tmp_path, "a.srt", text)
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == ["one", "two", "three"]
    ids = [row.utterance_id for row in corpus.utterances]
    assert ids[0] == "a_line2" and len(set(ids)) == 3 and "cue numbers unusable" in kinds(corpus)
    write(tmp_path, "labels.csv", LABELS + "a_2,joy,train\n")
    expect_refusal(tmp_path, "no cue 'a_2'", fault, "use ids such as a_line", labels="labels.csv")
    write(tmp_path, "labels.csv", LABELS + f"{ids[1]},joy,test\n{ids[2]},anger,test\n")
    assert [row.emotion for row in read_subtitles(tmp_path, labels="labels.csv").utterances] == ["", "joy", "anger"]


def test_labels_of_cues_that_are_no_single_utterance_are_refused_with_the_reason(tmp_path):
    rolling = ["A b.", "A b.\nC d.", "C d.", "C d.\nE f."]
    write(tmp_path, "a.srt", cues(*rolling))
    write(tmp_path, "b.srt", cues("- Hi.\n- Hello.", "<i></i>"))
    write(tmp_path, "labels.csv", LABELS + "a_3,joy,test\nb_1,joy,test\nb_2,joy,test\n")
    expect_refusal(
        tmp_path,
        "no cue 'a_3'; its cue is merged into a_2",
        "no cue 'b_1'; its cue is split by speaker into b_1.1, b_1.2",
        "no cue 'b_2'; its cue has no text",
        labels="labels.csv",
    )


def test_digits_are_a_number_or_a_text_by_what_most_cues_have(tmp_path):
    write(tmp_path, "a.srt", re.sub(r"(?m)^\d\n", "", cues("one", "1984", "three")))
    assert [(row.utterance_id, row.text) for row in read_subtitles(tmp_path).utterances] == [
        *[("a_1", "one"), ("a_2", "1984"), ("a_3", "three")]
    ]
    write(tmp_path, "a.srt", cues("one", "1984", "three").replace("\n", "\n\n"))
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == ["one", "1984", "three"]
    assert [row.utterance_id for row in corpus.utterances] == ["a_1", "a_2", "a_3"]


def test_text_after_an_empty_line_within_a_cue_is_reported(tmp_path):
    write(tmp_path, "a.srt", cues("one\n\nmore", "two"))
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == ["one more", "two"]
    assert problems_of(corpus, "empty line within a cue") == [
        "a.srt, line 2: empty line within a cue: 1 time(s); the text after it belongs to the cue, as in players"
    ]


@pytest.mark.parametrize("name", [b"a\xff.srt", b"a\x1b[31m.srt", b"a\nb.srt"])
def test_file_name_that_no_table_can_hold_is_refused(tmp_path, name):
    with open(os.path.join(os.fsencode(tmp_path), name), "w", encoding="utf-8") as file:
        file.write(SRT)
    expect_refusal(tmp_path, "a file name with control characters, or that is not UTF-8. Rename the file.")


def test_webvtt_under_another_suffix_is_read_as_webvtt(tmp_path):
    write(tmp_path, "a.srt", VTT)
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == ["Hi there.", "Anna: yes"]
    assert "WebVTT under another suffix" in kinds(corpus)


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
    assert {"no video beside it", "no subtitles"} <= set(kinds(corpus))
    assert "no subtitles: 1 (b.mp4)" in [problem.problem for problem in corpus.problems]


@pytest.mark.parametrize("name", ["take 1.5", "take 1.2.en", "take 1_2"])
def test_another_number_is_another_recording(tmp_path, name):
    write(tmp_path, f"{name}.srt", SRT)
    write(tmp_path, "take 1.mp4", b"")
    corpus = read_subtitles(tmp_path)
    assert {row.media for row in corpus.utterances} == {""} and "no video beside it" in kinds(corpus)


@pytest.mark.parametrize("name", ["take 1.en", "take 1.pt-BR.sdh", "take 1.german", "take 1.es-419"])
def test_a_language_may_stand_behind_the_name(tmp_path, name):
    write(tmp_path, f"{name}.srt", SRT)
    write(tmp_path, "take 1.mp4", b"")
    assert {row.media for row in read_subtitles(tmp_path).utterances} == {"take 1.mp4"}


@pytest.mark.parametrize(
    ("subtitles", "video"),
    [
        ("The.Big.Bang.en.srt", "The.Big.Bang.mp4"),
        ("talk.bob.en.srt", "talk.bob.mp4"),
        ("talk.English [CC].srt", "talk.mp4"),
        ("talk.简体.srt", "talk.mp4"),
    ],
)
def test_the_nearest_name_is_that_of_the_video(tmp_path, subtitles, video):
    write(tmp_path, subtitles, SRT)
    for name in {video, "talk.mp4"}:
        write(tmp_path, name, b"")
    assert {row.media for row in read_subtitles(tmp_path).utterances} == {video}


def test_names_in_another_unicode_form_belong_together(tmp_path):
    write(tmp_path, unicodedata.normalize("NFD", "Gespräch.srt"), SRT)
    video = unicodedata.normalize("NFC", "Gespräch.mp4")
    write(tmp_path, video, b"")
    assert {row.media for row in read_subtitles(tmp_path).utterances} == {video}


def test_links_to_folders_are_listed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", "b.srt", SRT)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/day2").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "raw", "c.ass", "")
    expect_refusal(tmp_path / "raw", "found nothing of use; not read: c.ass, day2")
    write(tmp_path / "raw", "a.srt", SRT)
    corpus = read_subtitles(tmp_path / "raw")
    assert {row.dialogue_id for row in corpus.utterances} == {"a"}
    assert "links to folders, which are not followed; put the files there: 1 (day2)" in [
        problem.problem for problem in corpus.problems
    ]


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
