"""utterances.csv: what is written is read back, what is broken is refused with its line."""

import re
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from dferc.core.tables import write_table
from pipeline.rows.utterances import Region, Utterance, read_utterances_csv

ROW = Utterance(utterance_id="u", dialogue_id="d", position=3, speaker="Ann", emotion="joy", split="train", text="hi")
HEADER = ",".join(field.name for field in fields(Utterance))
LINE = "u,d,3,Ann,joy,train,hi,clip.avi,0.0,1.5,0.5 0.25 1.0 0.75,clip.wav,2.0,3.5,True,False"

texts = st.text(st.characters(exclude_categories=["Cs"]))
seconds = st.floats(min_value=0, max_value=1e6)
utterances = st.builds(
    Utterance,
    **{name: texts for name in ("utterance_id", "dialogue_id", "speaker", "emotion", "split", "text")},
    **{name: texts for name in ("media", "sound")},
    **{name: seconds for name in ("start_s", "end_s", "sound_start_s", "sound_end_s")},
    position=st.integers(0, 10**6),
    region=st.builds(Region, *[st.floats(0, 1)] * 4),
    has_audio=st.booleans(),
    has_video=st.booleans(),
)


def _file(tmp_path, content):
    path = tmp_path / "demo" / "utterances.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(utterances, min_size=1, max_size=4))
def test_rows_come_back_as_they_were(tmp_path, rows):
    write_table(tmp_path / "utterances.csv", rows, Utterance)

    assert read_utterances_csv(tmp_path / "utterances.csv") == rows


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nb", 'say "hi", then', "\u2028\x85é", " spaces ", ""])
def test_awkward_text_comes_back_as_it_was(tmp_path, text):
    row = replace(ROW, text=text)
    write_table(tmp_path / "utterances.csv", [row], Utterance)

    assert read_utterances_csv(tmp_path / "utterances.csv") == [row]


def test_same_rows_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_table(tmp_path / name, [ROW], Utterance)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_text() == (
        '"utterance_id","dialogue_id","position","speaker","emotion","split","text","media","start_s","end_s",'
        '"region","sound","sound_start_s","sound_end_s","has_audio","has_video"\n'
        '"u","d",3,"Ann","joy","train","hi","",0.0,0.0,"0.0 0.0 1.0 1.0","",0.0,0.0,False,False\n'
    )


def test_row_has_types(tmp_path):
    (row,) = read_utterances_csv(_file(tmp_path, f"{HEADER}\n{LINE}\n"))

    assert (row.position, row.start_s, row.end_s, row.has_audio, row.has_video) == (3, 0.0, 1.5, True, False)
    assert row.heard == ("clip.wav", 2.0, 3.5)
    assert row.seen == ("clip.avi", 0.0, 1.5, Region(0.5, 0.25, 1.0, 0.75))


def test_sound_is_the_clips_own_unless_another_file_is_named():
    row = replace(ROW, media="a", end_s=2.0)

    assert row.heard == ("a", 0.0, 2.0) and row.seen == ("a", 0.0, 2.0, Region(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected the columns utterance_id, dialogue_id"),
        (f"{HEADER}\n", "has no utterances"),
        (f"{HEADER.replace('text', 'words')}\n{LINE}\n", "found ['utterance_id', 'dialogue_id', 'position'"),
        (
            f"{HEADER}\n{LINE}\n{LINE.replace('d,3', 'd,three')}\n",
            "line 3: invalid literal for int() with base 10: 'three'",
        ),
        (f"{HEADER}\n{LINE.replace('1.5', 'long')}\n", "line 2: could not convert string to float: 'long'"),
        (f"{HEADER}\n{LINE.replace('0.25', 'top')}\n", "line 2: could not convert string to float: 'top'"),
        (f"{HEADER}\n{LINE.replace('0.75', '0.75 1')}\n", "line 2: could not convert string to float: '0.75 1'"),
        (
            f"{HEADER}\n{LINE.replace('True', 'yes')}\n",
            "line 2: has_audio and has_video are True or False, found 'yes'",
        ),
        (f"{HEADER}\n{LINE},more\n", "line 2: "),
        (f"{HEADER}\nu,d,3\n", "line 2: "),
        (f"{HEADER}\n{LINE.replace('hi', chr(34) + 'hi')}\n", "line 2: unexpected end of data"),
        (f"{HEADER}\n".encode() + LINE.replace("hi", "h\xef").encode("latin-1") + b"\n", "codec can't decode"),
    ],
)
def test_broken_file_is_refused_with_its_line(tmp_path, content, message):
    path = _file(tmp_path, content)

    with pytest.raises(InputError, match=re.escape(str(path)) + ".*" + re.escape(message)):
        read_utterances_csv(path)


def test_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(InputError, match="Make it with `python -m pipeline.prepare --corpus demo`"):
        read_utterances_csv(tmp_path / "demo" / "utterances.csv")
