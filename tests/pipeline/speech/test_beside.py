"""Transcripts beside a medium."""

import unicodedata
from pathlib import Path

import pytest

from dferc.core.errors import InputError
from pipeline.speech import find_transcript, read_transcript
from pipeline.speech.beside import unread_beside
from tests.helpers.own_files import cues, write

VIDEO = Path("talk.mp4")


def found(folder: Path, *names: str) -> str | None:
    for name in ("talk.mp4", *names):
        write(folder, name, "")
    path = find_transcript(folder / "talk.mp4")
    return path and path.name


@pytest.mark.parametrize("suffix", ["srt", "VTT", "csv", "tsv", "jsonl", "txt"])
def test_a_file_of_the_same_name_is_the_transcript(tmp_path, suffix):
    assert found(tmp_path, f"talk.{suffix}", "talk2.srt", "other.srt", "talk.json", "talk.en.srt") == f"talk.{suffix}"


@pytest.mark.parametrize(
    "name",
    [
        *("talk.en.srt", "talk.pt-BR.vtt", "talk.mp4.srt", "talk.es-419.vtt", "talk.en-nP7-2PuUl7o.vtt"),
        *("talk.zh-Hans-CN.vtt", "talk.en.sdh.srt", "talk.eng.cc.srt", "talk.transcript.vtt"),
    ],
)
def test_a_name_with_a_language_or_the_suffix_is_the_next_best(tmp_path, name):
    assert found(tmp_path, name, "talk.final.srt") == name


@pytest.mark.parametrize("view", ["_1920x1080", "_gallery_1280x720", ""])
def test_zooms_views_share_the_transcript_of_their_recording(tmp_path, view):
    start = "GMT20240503-150000_Recording"
    for name in (f"{start}{view}.mp4", f"{start}.transcript.vtt", f"{start}_avo_640x360.mp4", f"{start}newChat.txt"):
        write(tmp_path, name, "")
    path = find_transcript(tmp_path / f"{start}{view}.mp4")
    assert path is not None and path.name == f"{start}.transcript.vtt"
    assert found(tmp_path, "talk_640x480.srt") is None
    own = write(tmp_path, f"{start}_avo_640x360.en.vtt", "")
    assert find_transcript(tmp_path / f"{start}_avo_640x360.mp4") == own


def test_nothing_else_is(tmp_path):
    assert found(tmp_path, "talking.srt", "talk.notes.txt", ".talk.srt", "talk.bob-smith.srt") is None


def test_the_lines_of_another_language_alone_are_no_transcript(tmp_path):
    assert found(tmp_path, "talk.forced.srt", "talk.en.forced.srt") is None


@pytest.mark.parametrize("other", ["talk.en.sdh.srt", "talk.transcript.txt", "talk.en.forced.srt"])
@pytest.mark.parametrize("name", ["talk.en.srt", "talk.mp4.srt"])
def test_a_plain_name_comes_before_one_of_a_kind(tmp_path, name, other):
    assert found(tmp_path, name, other) == name


@pytest.mark.parametrize("name", ["café", "café.en"])
def test_names_in_another_unicode_form_are_the_same(tmp_path, name):
    for form, file in (("NFD", "café.mp4"), ("NFC", f"{name}.srt")):
        write(tmp_path, unicodedata.normalize(form, file), "")
    path = find_transcript(next(tmp_path.glob("*.mp4")))
    assert path is not None and unicodedata.normalize("NFC", path.name) == f"{name}.srt"


@pytest.mark.parametrize("place", ["clips\\talk.mp4", "Talk.MP4", "raw/TALK.mp4", "talk.mp4"])
def test_a_table_may_name_the_medium_in_another_case_or_form(tmp_path, place):
    write(tmp_path, "talk.mp4", "")
    path = write(tmp_path, "all.csv", f"media,start,end,text\n{place},0,1,Yes\nother.mp4,0,1,No\ntalk.mp4,1,2,Oh\n")
    assert [each.text for each in read_transcript(path, tmp_path / "talk.mp4", 60.0).utterances] == ["Yes", "Oh"]
    if place == "Talk.MP4":
        write(tmp_path, place, "")  # another file
        assert [each.text for each in read_transcript(path, tmp_path / "talk.mp4", 60.0).utterances] == ["Oh"]


@pytest.mark.parametrize("names", [("talk.srt", "talk.vtt"), ("talk.en.srt", "talk.de.srt")])
def test_several_are_refused_with_the_list(tmp_path, names):
    with pytest.raises(InputError) as error:
        found(tmp_path, *names)
    assert all(part in str(error.value) for part in ("talk.mp4", *names, "--transcript"))


def test_a_transcript_alone_is_its_own(tmp_path):
    path = write(tmp_path, "talk.txt", "Hello.\nIs that so?\n")
    assert find_transcript(path) == path
    read = read_transcript(path, None, None)
    assert [(each.utterance_id, each.text) for each in read.utterances] == [
        ("talk_1", "Hello."),
        ("talk_2", "Is that so?"),
    ]
    assert {(each.start_s, each.end_s, each.speaker) for each in read.utterances} == {(None, None, "")}


def test_subtitles_are_read_by_the_rules_of_a_corpus(tmp_path):
    path = write(tmp_path, "talk.en.srt", cues("ANNA: <b>Hello</b> <laughs>", "BO: Hi.", "ANNA: Tom &amp; Jo!"))
    read = read_transcript(path, VIDEO, 60.0)
    assert [(each.speaker, each.text) for each in read.utterances] == [
        ("ANNA", "Hello"),
        ("BO", "Hi."),
        ("ANNA", "Tom & Jo!"),
    ]
    assert read.utterances[0].start_s == 1.0 and read.utterances[0].end_s > 1.0
    assert (read.origin, read.speakers_from, read.language, read.notes) == ("talk.en.srt", "talk.en.srt", "en", ())
    assert [problem.kind for problem in read.problems] == ["unknown tag"]
    assert read_transcript(path, VIDEO, 60.0, speaker_prefix=False).utterances[1].text == "BO: Hi."


def test_plain_lines_name_speakers_as_subtitles_do(tmp_path):
    path = write(
        tmp_path, "talk.txt", "\ufeffAnna: Good morning.\r\n\r\nBo: Is it?\r\nAnna: <i>Yes.</i>\r\nBo: Oh.\r\n"
    )
    read = read_transcript(path, VIDEO, 60.0)
    assert [(each.speaker, each.text) for each in read.utterances] == [
        ("Anna", "Good morning."),
        ("Bo", "Is it?"),
        ("Anna", "Yes."),
        ("Bo", "Oh."),
    ]
    assert all(each.start_s is None for each in read.utterances)


def test_lines_of_a_time_alone_are_left_out(tmp_path):
    """Google Meet's, one in five minutes."""
    lines = "00:00:00\nAnna: Hello.\nBo: Hi.\nAnna: At 10:30?\n00:05:12\nBo: Yes.\nAnna: Good.\nBo: Bye.\nAnna: Bye."
    read = read_transcript(write(tmp_path, "talk.txt", lines), VIDEO, 60.0)
    assert [each.text for each in read.utterances] == ["Hello.", "Hi.", "At 10:30?", "Yes.", "Good.", "Bye.", "Bye."]
    assert "line that is only a time" in [problem.kind for problem in read.problems]


@pytest.mark.parametrize("end", ["\u2028", "\x0b", "\x85"])
def test_lines_of_plain_text_end_in_any_way(tmp_path, end):
    path = write(tmp_path, "talk.txt", end.join(["Anna: Hello.", "Bo: Hi.", "Anna: Bye.", "Bo: Bye."]))
    said = [(each.speaker, each.text) for each in read_transcript(path, VIDEO, 60.0).utterances]
    assert said == [("Anna", "Hello."), ("Bo", "Hi."), ("Anna", "Bye."), ("Bo", "Bye.")]


def test_an_ellipsis_of_cp1252_ends_no_line(tmp_path):
    """U+0085, where another program took cp1252 for latin-1."""
    path = write(tmp_path, "talk.txt", "Anna: Well\x85 I know.\nBo: Hm\x85 So?\nAnna: Yes.\nBo: No.")
    said = [(each.speaker, each.text) for each in read_transcript(path, VIDEO, 60.0).utterances]
    assert said == [("Anna", "Well… I know."), ("Bo", "Hm… So?"), ("Anna", "Yes."), ("Bo", "No.")]


def test_lines_that_are_what_diarization_calls_a_speaker_are_no_speech(tmp_path):
    """Premiere, Otter and others without times write `Speaker 1` above what it says."""
    path = write(tmp_path, "talk.txt", "Speaker 1\nGood morning.\n\nSpeaker 2\nHi.\n\nSpeaker 1\nOh.\n")
    read = read_transcript(path, VIDEO, 60.0)
    assert [(each.speaker, each.text) for each in read.utterances] == [
        ("Speaker 1", "Good morning."),
        ("Speaker 2", "Hi."),
        ("Speaker 1", "Oh."),
    ]


def test_what_diarization_calls_a_speaker_is_one_also_once(tmp_path):
    read = read_transcript(write(tmp_path, "talk.txt", "Speaker 1\nGood morning.\nSpeaker 2\nHi.\n"), VIDEO, 60.0)
    assert [(each.speaker, each.text) for each in read.utterances] == [
        ("Speaker 1", "Good morning."),
        ("Speaker 2", "Hi."),
    ]


def test_one_speaker_1_makes_no_speakers_of_lines_that_end_in_a_colon(tmp_path):
    lines = ("Hello and welcome.", "What do you need:", "Eggs and milk.")
    read = read_transcript(write(tmp_path, "talk.txt", "\n".join(("Speaker 1", *lines))), VIDEO, 60.0)
    assert [(each.speaker, each.text) for each in read.utterances] == [("Speaker 1", line) for line in lines]


def test_names_on_lines_of_their_own_are_the_speakers_of_the_lines_below(tmp_path):
    lines = (
        "Anna:",
        "Good morning.",
        "How are you?",
        "",
        "Bo:",
        "",
        "Fine: really.",
        "Anna:",
        "Oh.",
        "Narrator:",
        "Rain.",
    )
    path = write(tmp_path, "talk.txt", "\n".join([*lines, "Bo: Go.", "Now?"]))
    read = read_transcript(path, VIDEO, 60.0)
    assert [(each.utterance_id, each.speaker, each.text) for each in read.utterances] == [
        ("talk_1", "Anna", "Good morning."),
        ("talk_2", "Anna", "How are you?"),
        ("talk_3", "Bo", "Fine: really."),
        ("talk_4", "Anna", "Oh."),
        ("talk_5", "Narrator", "Rain."),
        ("talk_6", "Bo", "Go."),
        ("talk_7", "", "Now?"),
    ]
    [listed] = [problem for problem in read.problems if problem.kind.startswith("line that only names a speaker")]
    assert listed.where == "talk.txt, line 1" and "4" in listed.problem
    once = read_transcript(write(tmp_path, "once.txt", "Anna:\nHello.\nBo:\nHi.\n"), VIDEO, 60.0)
    assert [each.text for each in once.utterances] == ["Anna:", "Hello.", "Bo:", "Hi."]
    plain = read_transcript(path, VIDEO, 60.0, speaker_prefix=False)
    assert plain.utterances[0].text == "Anna:" and not plain.speakers_from


def test_a_single_line_is_of_the_whole_medium(tmp_path):
    [spoken] = read_transcript(write(tmp_path, "talk.txt", "Is it?\n"), VIDEO, 2.5).utterances
    assert (spoken.start_s, spoken.end_s) == (0.0, 2.5)


def test_without_speakers_a_note_reports_it(tmp_path):
    read = read_transcript(write(tmp_path, "talk.txt", "Yes.\nNo.\n"), VIDEO, 9.0)
    assert "one speaker" in read.notes[0] and read.speakers_from == ""
    assert read_transcript(write(tmp_path, "one.txt", "Yes.\n"), VIDEO, 9.0).notes == read.notes


@pytest.mark.parametrize(("name", "remedy"), [("talk.srt", "iconv -f WINDOWS-1252"), ("talk.csv", "`CSV UTF-8`")])
def test_other_encodings_are_refused_with_the_way_to_convert_such_a_file(tmp_path, name, remedy):
    path = tmp_path / name
    path.write_bytes(cues("Où ça ?").encode("latin-1"))
    with pytest.raises(InputError, match=rf"{name}, line 3: the byte 0xf9.*not UTF-8") as refused:
        read_transcript(path, VIDEO, 60.0)
    assert remedy in str(refused.value) and ("iconv" in str(refused.value)) == name.endswith(".srt")


def test_subtitles_under_the_name_of_plain_text_are_refused(tmp_path):
    path = write(tmp_path, "talk.txt", cues("Hello."))
    with pytest.raises(InputError, match=r"talk\.txt, line 2.*00:00:01,000 --> .*\.srt or \.vtt"):
        read_transcript(path, VIDEO, 60.0)


TABLE = "start,end,speaker,text,emotion,p_joy,p_anger\n0.5,1.5,Ann,Hello,joy,0.1,0.9\n00:02,,Bo,Hi,,0.2,0.8\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["[00:00:01] Anna: Hello.", "[00:00:04] Bo: Hi."],
        ["(0:01) Hello.", "(0:04) Hi."],
        ["Anna Smith  0:01", "Hello.", "", "Bo  0:04", "Hi."],  # Otter
        ["[00:12.00]Hello.", "[00:15.50]Hi."],  # LRC
        ["00:01 Hello.", "1:00:04 Hi."],
        ["0.500000\t2.000000\tHello.", "2.500000\t3.000000\tHi."],  # Audacity
        ["Anna\t00:00:00.500\t0.5\t00:00:02.000\t2.0\tHello.", "Bo\t00:00:03.0\t3.0\t00:00:04.0\t4.0\tHi."],  # ELAN
        ["Speaker 1 (00:00):", "Hello.", "", "Speaker 2 (00:04):", "Hi."],  # Rev
        ["Hello. #00:00:02-0#", "Hi. #00:00:04-3#"],  # F4
        ["{25}{75}Hello|there.", "{80}{120}Hi."],  # MicroDVD
        ["[10][30] Hello.", "[31][50] Hi."],  # MPL2
        ["00:01:54:Hello.", "00:01:57:Hi, at 09:00."],  # TMPlayer
        ["Anna (00:01): Hello.", "Bo (00:04): Hi."],
        ["[0.00 - 3.20] Hello.", "[3.20 - 5.00] Hi."],
        ["[0.00s -> 3.20s] Hello.", "[3.20s -> 5.00s] Hi."],  # faster-whisper's own example
        ["Anna: [00:00:01] Hello.", "Bo: [00:00:04] Hi."],  # Sonix
        ["#00:00:02-0# Anna: Hello.", "#00:00:04-3# Bo: Hi."],  # F4, MAXQDA
        ["00:01-00:03 Hello.", "00:03–00:05 Hi."],
        ["1\t0:00.0 - 0:05.0\tHello.\tAnna", "2\t0:05.0 - 0:09.0\tHi.\tBo"],  # NVivo
        ["[0:01] Hello.", "[0:04] Hi.", "[0:06] Oh.", "1.5\t2.5\tnoise"],
    ],
)
def test_times_in_plain_text_are_refused(tmp_path, lines):
    """They would be words, and the names beside them no speakers."""
    path = write(tmp_path, "talk.txt", "\n".join(lines))
    with pytest.raises(InputError) as error:
        read_transcript(path, VIDEO, 60.0)
    assert all(part in str(error.value) for part in ("line 1", "a time", "start, speaker, text"))


def test_text_of_praat_is_named(tmp_path):
    table = write(tmp_path, "talk.txt", "tmin\ttier\ttext\ttmax\n0.5\tAnna\tHello.\t2\n")
    with pytest.raises(InputError, match="line 2: a time"):
        read_transcript(table, VIDEO, 60.0)
    grid = write(tmp_path, "talk.txt", 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\n')
    with pytest.raises(InputError, match="a file of Praat"):
        read_transcript(grid, VIDEO, 60.0)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("{\\rtf1\\ansi {\\fonttbl {\\f0 Courier;}}\nAnna: Hello.\\par\n}", "RTF"),
        ('{\n  "text": " Hello.",\n  "language": "en"\n}', "JSON"),
        ('{"text": " Hello."}', "JSON"),
        ('[\n{"speaker": "Anna"}]', "JSON"),
        ('<?xml version="1.0"?>\n<tt><body><p begin="1s">Hello.</p></body></tt>', "XML"),
        ("@UTF8\n@Begin\n*MOT:\twhat is that ?\n%mor:\tpro|what ?\n@End", "CHAT"),
    ],
)
def test_other_formats_under_the_name_of_plain_text_are_refused(tmp_path, text, form):
    with pytest.raises(InputError, match=f"{form}, no plain text"):
        read_transcript(write(tmp_path, "talk.txt", text), VIDEO, 60.0)
    for said in ("[laughs]", "[music] {sic} Hello.", "<i>Hello.</i>", "@beginner, she says"):
        assert read_transcript(write(tmp_path, "talk.txt", f"{said}\nBye."), VIDEO, 60.0).utterances


@pytest.mark.parametrize(
    "lines",
    [
        ["10:30 works for me.", "Does it?", "Yes.", "Then at 10:30", "Fine.", "Good.", "Bye."],
        ["Anna: When does the train leave?", "Bo: At 10:30", "Anna: And there?", "Bo: Maybe at 12:15", "Anna: Good"],
        ["John 3:16 says it all.", "3:16 is my favourite verse", "3:17 is mine", "Oh"],
        ["we meet at 10:30", "no at 11:00", "fine", "bye"],
        ["1\t2\tbuckle my shoe", "3\t4\tknock at the door"],
        ["one\t1.5", "two\t2.5"],
    ],
)
def test_times_that_are_spoken_are_words(tmp_path, lines):
    path = write(tmp_path, "talk.txt", "\n".join(lines))
    assert len(read_transcript(path, VIDEO, 60.0).utterances) == len(lines)


@pytest.mark.parametrize(("media", "length_s"), [(VIDEO, 60.0), (VIDEO, 9000.0), (None, None)])
def test_milliseconds_in_a_table_are_refused(tmp_path, media, length_s):
    """Whisper's own .tsv. Those of a short one lie within a long recording."""
    rows = ["start\tend\ttext", "0\t2500\tHello there.", "2500\t5120\tHow are you?"]
    for count in (2, 3):
        path = write(tmp_path, "talk.tsv", "\n".join(rows[:count]))
        with pytest.raises(InputError, match="seconds"):
            read_transcript(path, media, length_s)


@pytest.mark.parametrize(
    ("rows", "ends"),
    [
        (["0,25,Hello.", "25,50,Bye."], [25, 50]),
        (["0,60,Hm."], [60]),
        (["0,60,Yes.", "60,120,No.", "120,300,I see."], [60, 120, 300]),
        (["0,300,Silence", "300,305,Hello?", "305,600,Silence"], [300, 305, 600]),
    ],
)
def test_whole_seconds_of_slow_speech_are_seconds(tmp_path, rows, ends):
    path = write(tmp_path, "talk.csv", "\n".join(["start,end,text", *rows]))
    assert [each.end_s for each in read_transcript(path, VIDEO, 600.0).utterances] == ends


@pytest.mark.parametrize(
    "times",
    [
        [("0.0083", "0.0333"), ("0.0417", "0.0667")],  # minutes
        [("5.787E-06", "2.3148E-05"), ("2.8935E-05", "4.6296E-05")],  # a spreadsheet's fractions of a day
    ],
)
def test_times_that_nobody_can_speak_in_are_refused(tmp_path, times):
    said = ["I have no idea what you are talking about.", "Then listen to me for once, and do not laugh."]
    rows = [f'{start},{end},"{text}"' for (start, end), text in zip(times, said, strict=True)]
    path = write(tmp_path, "talk.csv", "\n".join(["start,end,text", *rows]))
    with pytest.raises(InputError, match=r"multiply minutes by 60.*by 86400"):
        read_transcript(path, VIDEO, 600.0)


@pytest.mark.parametrize(
    "header",
    ["tmin,tmax", "Begin Time - ss.msec,End Time - ss.msec", "begin_s,end_s", "from,to", "Start Timecode,End Timecode"],
)
def test_times_under_other_names_are_refused(tmp_path, header):
    """Every row would have the whole of its file."""
    path = write(tmp_path, "talk.csv", f"{header},text\n0.5,2.0,Hello.\n2.5,4.0,Hi.\n")
    first, last = header.split(",")
    with pytest.raises(InputError) as error:
        read_transcript(path, VIDEO, 60.0)
    assert all(part in str(error.value) for part in (first, last, "hold times", "start and end"))


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("turn,next_turn", ["1,2", "2,3", "3,4"]),
        ("words,letters", ["2,9", "1,4", "3,12"]),
        ("year,month", ["2019,1", "2019,2", "2020,3"]),
        ("post,parent", ["0,104", "104,131", "131,160"]),
        ("first_word,last_word", ["1,3", "4,5", "6,7"]),
        ("sent,delivered", ["1700000000,1700000002", "1700000010,1700000011", "1700000020,1700000025"]),
    ],
)
def test_other_numbers_are_no_times(tmp_path, header, numbers):
    path = write(tmp_path, "talk.csv", "\n".join([f"{header},text", *(f"{each},Hello." for each in numbers)]))
    assert len(read_transcript(path, None, None).utterances) == 3


def test_tables_as_tools_write_them_are_read(tmp_path):
    segment = '{"id": 0, "start": 0.5, "end": 2.0, "text": " Hello.", "tokens": [1, 2], "words": [{"word": "Hello."}]}'
    read = read_transcript(write(tmp_path, "talk.jsonl", segment + "\n"), VIDEO, 60.0)  # Whisper's segments
    assert [(each.start_s, each.end_s, each.text) for each in read.utterances] == [(0.5, 2.0, "Hello.")]
    for first in ("", '""'):  # pandas, R
        path = write(tmp_path, "talk.csv", f"{first},start,end,text\n0,0.5,2.0,Hello.\n1,2.5,3.0,Hi.\n")
        assert [each.text for each in read_transcript(path, VIDEO, 60.0).utterances] == ["Hello.", "Hi."]
    with pytest.raises(InputError, match="'a' in column 1, which has no name"):
        read_transcript(write(tmp_path, "talk.csv", ",start,end,text\na,0.5,2.0,Hello.\n"), VIDEO, 60.0)


def test_a_workbook_is_named_whatever_its_name(tmp_path):
    path = tmp_path / "talk.csv"
    path.write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(InputError, match="is a workbook"):
        read_transcript(path, VIDEO, 60.0)


def test_a_table_needs_no_dialogue_and_its_labels_are_not_read(tmp_path):
    read = read_transcript(write(tmp_path, "talk.csv", TABLE + "3,4,Ann,Well,x,0.3,0.7\n"), VIDEO, 60.0)
    assert [(each.start_s, each.end_s, each.speaker, each.text) for each in read.utterances] == [
        (0.5, 1.5, "Ann", "Hello"),
        (2.0, 3.0, "Bo", "Hi"),  # until the next begins
        (3.0, 4.0, "Ann", "Well"),
    ]
    assert "'emotion', 'p_joy', 'p_anger'" in read.problems[0].problem
    last = read_transcript(write(tmp_path, "talk.csv", TABLE), VIDEO, 60.0).utterances[-1]
    assert last.end_s == 60.0


@pytest.mark.parametrize("name", ["NaN.csv", "null.csv"])
def test_a_table_may_be_called_as_a_missing_value_is_spelled(tmp_path, name):
    path = write(tmp_path, name, "start,end,text\n1,2,hi\n")
    assert [each.text for each in read_transcript(path, VIDEO, 60.0).utterances] == ["hi"]


def test_a_table_of_several_media_gives_the_rows_of_this_one(tmp_path):
    rows = "media,start,end,text\ntalk.mp4,0,1,Yes\nother.mp4,0,1,No\nclips/talk.mp4,1,2,Oh\n"
    read = read_transcript(write(tmp_path, "all.csv", rows), VIDEO, 60.0)
    assert [each.text for each in read.utterances] == ["Yes", "Oh"]
    assert [problem.problem for problem in read.problems if "other.mp4" in problem.problem] == [
        "rows of other media: 1 of 3, first 'other.mp4' (all.csv, line 3)"
    ]
    with pytest.raises(InputError, match=r"all\.csv: no row is of mine\.mp4.*other\.mp4"):
        read_transcript(tmp_path / "all.csv", Path("mine.mp4"), 60.0)


def test_a_table_alone_of_several_conversations_is_no_silent_one(tmp_path):
    rows = "dialogue_id,media,start,end,text\nd1,a.mp4,0,1,Yes\nd1,a.mp4,1,2,No\nd2,b.mp4,0,1,Oh\n"
    with pytest.raises(InputError, match=r"all\.csv: its column media names 2 files, a\.mp4, b\.mp4"):
        read_transcript(write(tmp_path, "all.csv", rows), None, None)
    assert read_transcript(tmp_path / "all.csv", Path("a.mp4"), 60.0).problems[-1].consequence == "left out"
    read = read_transcript(write(tmp_path, "texts.csv", "dialogue_id,text\nd1,Yes\nd1,No\nd2,Oh\n"), None, None)
    assert "dialogue_id: 2 conversations (d1, d2)" in [problem.problem for problem in read.problems]


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ("start,end,text\n,3,Yes\n1,2,No\n", ("line 2", "3 s", "no start")),
        ("start,text,utterance_id\n1,Yes,a\n2,No,a\n", ("'a'", "2 times")),
        ("start,sentence\n1,Yes\n", ("'sentence'", "'text'")),
        ("start,text\nsoon,Yes\n", ("line 2", "'soon'", "12.5")),
    ],
)
def test_bad_tables_are_refused_with_the_line(tmp_path, rows, parts):
    with pytest.raises(InputError) as error:
        read_transcript(write(tmp_path, "talk.csv", rows), VIDEO, 60.0)
    assert all(part in str(error.value) for part in ("talk.csv", *parts))


def test_a_transcript_of_another_video_is_refused_with_counts(tmp_path):
    path = write(tmp_path, "talk.srt", cues(*"abcdef"))  # one a second, from 1 s on
    with pytest.raises(InputError) as error:
        read_transcript(path, VIDEO, 2.6)
    assert all(part in str(error.value) for part in ("talk.srt", "talk.mp4", "2.6 s", "of 6", "another video"))


def test_single_cues_behind_the_end_are_kept_for_their_words(tmp_path):
    path = write(tmp_path, "talk.srt", cues("Yes.", "No.", "Well."))
    length_s = read_transcript(path, VIDEO, 60.0).utterances[-1].start_s
    assert len(read_transcript(path, VIDEO, length_s).utterances) == 3


@pytest.mark.parametrize(
    ("name", "content"), [("talk.srt", "1\n00:00:01,000 --> 00:00:02,000\n\n"), ("talk.txt", " \n")]
)
def test_a_transcript_without_a_word_is_refused(tmp_path, name, content):
    with pytest.raises(InputError, match=r"no utterance has a text.*talk\.mp4"):
        read_transcript(write(tmp_path, name, content), VIDEO, 60.0)


def test_other_files_and_names_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"talk\.docx.*\.srt"):
        read_transcript(write(tmp_path, "talk.docx", ""), VIDEO, 60.0)
    with pytest.raises(InputError, match="no such file"):
        read_transcript(tmp_path / "talk.srt", VIDEO, 60.0)
    with pytest.raises(InputError, match="Rename"):
        read_transcript(write(tmp_path, "a\nb.srt", cues("Hello.")), VIDEO, 60.0)


def test_advice_on_a_corpus_is_left_out(tmp_path):
    path = write(tmp_path, "talk.srt", cues("ANNA: Hello.", "ANNA: Oh.", "Listen: this is bad."))
    [problem] = [each for each in read_transcript(path, VIDEO, 60.0).problems if "Listen" in each.problem]
    assert problem.consequence == "kept as text"


def table(folder, rows, header="start,end,text,media"):
    path = folder / "talk.csv"
    path.write_text(f"{header}\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_an_end_that_lacks_is_the_next_begin_of_the_table_whatever_its_order(tmp_path):
    path = table(tmp_path, ["5,a", "1,b", "3,c", ",d", "12,e", "5,f"], "start,text")
    spoken = read_transcript(path, tmp_path / "talk.mp4", 9.0).utterances
    assert [(each.start_s, each.end_s) for each in spoken] == [
        (5, 12), (1, 3), (3, 5), (None, None), (12, 12), (5, 12),
    ]  # fmt: skip


def test_the_last_begin_of_a_table_alone_is_kept(tmp_path):
    spoken = read_transcript(table(tmp_path, ["0.5,a", "2.5,b"], "start,text"), None, None).utterances
    assert [(each.start_s, each.end_s) for each in spoken] == [(0.5, 2.5), (2.5, 2.5)]


def test_rows_of_another_recording_of_the_same_name_are_left_out(tmp_path):
    rows = ["1,2,hello,day1/cam.mp4", "3,4,there,cam.mp4", "1,2,HATE,day2/cam.mp4"]
    path = table(tmp_path, rows)
    for day, texts in (("day1", ["hello", "there"]), ("day2", ["there", "HATE"])):
        found = read_transcript(path, tmp_path / day / "cam.mp4", 9.0)
        assert [each.text for each in found.utterances] == texts
        assert any("rows of other media: 1 of 3" in problem.problem for problem in found.problems)
    path = table(tmp_path, [rows[0], rows[2]])
    with pytest.raises(InputError, match="several files called cam.mp4: day1/cam.mp4, day2/cam.mp4"):
        read_transcript(path, tmp_path / "elsewhere/cam.mp4", 9.0)


def test_ids_of_a_table_are_kept_where_every_row_has_one(tmp_path):
    header = "utterance_id,start,end,text"
    own = read_transcript(table(tmp_path, ["b,1,2,x", "a,3,4,y"], header), tmp_path / "talk.mp4", 9.0)
    assert [each.own_id for each in own.utterances] == ["b", "a"]
    part = read_transcript(table(tmp_path, ["b,1,2,x", ",3,4,y"], header), tmp_path / "talk.mp4", 9.0)
    assert [each.own_id for each in part.utterances] == ["", ""]


def test_the_transcript_of_a_neighbour_is_not_taken(tmp_path):
    names = ("interview.mp4", "interview.bob.mp4", "interview.bob.srt")
    for name in names:
        (tmp_path / name).write_text("")
    assert find_transcript(tmp_path / "interview.mp4") is None
    assert find_transcript(tmp_path / "interview.bob.mp4").name == "interview.bob.srt"
    (tmp_path / "interview.bob.mp4").unlink()
    assert find_transcript(tmp_path / "interview.mp4").name == "interview.bob.srt"  # a language, for all one can see


@pytest.mark.parametrize(
    ("name", "language"), [("talk.cc", ""), ("talk.sdh", ""), ("talk.en.cc", "en"), ("talk.de", "de")]
)
def test_a_kind_in_a_name_is_no_language(tmp_path, name, language):
    path = write(tmp_path, f"{name}.srt", cues("Hello."))
    assert read_transcript(path, VIDEO, 9.0).language == language


def test_names_without_a_colon_on_lines_of_their_own_are_told(tmp_path):
    path = write(tmp_path, "talk.txt", "Welcome.\n\nANNA\nHello there.\n\nBO\nHi.\n\nANNA\nSo.\n")
    (problem,) = read_transcript(path, VIDEO, 60.0).problems
    assert "'ANNA' 2" in problem.problem and "`NAME:`" in problem.consequence


def test_plain_text_that_says_seconds_or_repeats_named_turns_is_as_it_should_be(tmp_path):
    for text in ("how long\n30 seconds\nsure\n10 seconds\ngo\n", "Anna: yes\nBo: no\nAnna: yes\nBo: no\n"):
        assert not read_transcript(write(tmp_path, "talk.txt", text), VIDEO, 60.0).problems


def test_times_in_words_in_plain_text_are_refused(tmp_path):
    """What the transcript of Teams and Stream gives when it is copied."""
    turns = [("Anna Smith", 3, "Hello."), ("Bo Lee", 9, "Hi Anna."), ("Anna Smith", 12, "Well.")]
    form = "{0}\n0 minutes {1} seconds\n0:{1:02}\n{0} 0 minutes {1} seconds\n{2}"
    path = write(tmp_path, "talk.txt", "\n".join(form.format(*turn) for turn in turns))
    with pytest.raises(InputError, match="line 2: a time, '0 minutes 3 seconds', in a file of plain text"):
        read_transcript(path, VIDEO, 60.0)


def test_an_upload_has_the_language_of_its_own_name(tmp_path):
    path = table(tmp_path, ["1,2,hallo,talk.mp4"])
    found = read_transcript(path, Path("talk.mp4"), 9.0, named=Path("talk.de.csv"))
    assert found.language == "de" and len(found.utterances) == 1


def test_transcripts_that_no_reader_is_for_are_named(tmp_path):
    """Else speech recognition would stand in for them without a word."""
    assert found(tmp_path, "talk.ass", "talk.en.ttml", "other.ass", "talk.json", "talk.info.json") is None
    assert unread_beside(tmp_path / "talk.mp4").startswith("Not read: talk.ass, talk.en.ttml, talk.json. ")
    assert unread_beside(tmp_path / "other.mp4").startswith("Not read: other.ass. ")
    for suffix in (".cha", ".smi", ".scc", ".stl", ".trs", ".rtf"):  # CHILDES, SAMI, broadcasters, Transcriber
        write(tmp_path, f"day{suffix}", "text")
        assert f"day{suffix}" in unread_beside(tmp_path / "day.mp4")


@pytest.mark.parametrize(
    "name",
    [
        *("talk.English.srt", "talk.EN.srt", "talk.eng.SDH.srt", "talk.en.hi.srt", "talk.en.default.vtt"),
        *("talk_en.srt", "talk-en.vtt", "talk (1).srt", "Talk.srt", "talk.notes.txt", "talk.xlsx", "talk.srv3"),
    ],
)
def test_transcripts_of_a_name_that_is_not_known_are_named(tmp_path, name):
    assert found(tmp_path, name, "talking.srt", "talk2.srt", "talk.bob.mp4", "talk.bob.srt") is None
    assert unread_beside(tmp_path / "talk.mp4").startswith(f"Not read: {name}. ")
