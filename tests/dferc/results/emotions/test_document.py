"""The document of emotions: it is read back as it was, and damaged or newer ones are refused."""

import csv
import json

import pytest

from dferc.core.errors import InputError
from dferc.results.emotions import Emotions
from dferc.results.emotions.document import FILES
from dferc.results.emotions.schema import EU_LAW, MEANING, EmotionsRecord
from tests.helpers.common import REPOSITORY
from tests.helpers.emotional_talks import CLASSES, SYNTHETIC, talk, utterance

HOSTILE = (
    "</script><script>alert(1)</script>",
    "a\nb\r\nc\rd",
    "00:00:01,000 --> 00:00:02,000",
    "nul \0 bell \a escape \x1b[31m",
    "right-to-left \u202e override \u2066 isolate",
    "line\u2028separator & \"quotes\" 'single' \\ back, comma; =1+1",
    "שלום <b>bold</b> 👋🏽 {\\an8} \\N &lt;",
)


def hostile(**changes) -> Emotions:
    utterances = [utterance(at, text=text, speaker=f"Anna {at}") for at, text in enumerate(HOSTILE)]
    return talk(utterances=utterances, **changes)


def synthetic(emotions: Emotions) -> Emotions:
    emotions.model.synthetic = [SYNTHETIC]
    return emotions


def test_a_document_is_read_as_it_was_written(tmp_path):
    emotions = synthetic(hostile(abstain=0.4, notes=["a note"]))
    emotions.utterances[0].emotion = emotions.utterances[1].start_s = emotions.utterances[1].end_s = None
    emotions.to_json(tmp_path / "emotions.json")
    assert Emotions.read(tmp_path / "emotions.json") == emotions
    stored = json.loads((tmp_path / "emotions.json").read_text(encoding="utf-8"))
    assert stored["schema"] == 1 and stored["notices"] == [MEANING, EU_LAW] and stored["model"]["synthetic"]
    assert "5(1)(f)" in EU_LAW


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"schema": 2}, ["schema 2", "reads 1", "newer version of dferc"]),
        ({"schema": "1"}, ["schema is '1'"]),
        ({"media": None}, ["media is None"]),
        ({"abstain": 7.0}, ["abstain is 7.0"]),
        ({"utterances": [{"id": "u0"}]}, ["utterances.0.start_s is missing"]),
    ],
)
def test_what_is_no_document_of_this_version_is_refused(tmp_path, change, facts):
    path = tmp_path / "emotions.json"
    talk(1).to_json(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(InputError) as error:
        Emotions.read(path)
    assert all(fact in str(error.value) for fact in (str(path), *facts)), str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b"\xff\xfe", b'{"schema": 1}', b'{"schema": NaN}', b"[" * 100_000]
)
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "emotions.json").write_bytes(content)
    with pytest.raises(InputError, match=r"emotions\.json"):
        Emotions.read(tmp_path / "emotions.json")
    with pytest.raises(InputError, match="expected a file"):
        Emotions.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("field", "value", "fact"),
    [
        ("emotion", "boredom", "boredom"),
        ("probabilities", {"joy": 1.0}, "each class"),
        ("probabilities", dict.fromkeys(CLASSES, 1.5), "less than or equal to 1"),
        ("end_s", None, "both"),
        ("end_s", 0.5, "end after it begins"),
        ("start_s", float("nan"), "finite"),
        ("id", "u1", "there twice"),
    ],
)
def test_contradictions_are_refused_where_they_arise(field, value, fact):
    with pytest.raises(ValueError, match=fact):
        talk(utterances=[utterance(1), utterance(2, **{field: value})])


def test_half_characters_of_odd_file_names_are_replaced(tmp_path):
    emotions = talk(utterances=[utterance(0, text="lone \ud800 half, whole 👋", speaker="\udcff")])
    emotions.write(tmp_path)
    stored = Emotions.read(tmp_path / "emotions.json").utterances[0]
    assert (stored.text, stored.speaker) == ("lone \ufffd half, whole 👋", "\ufffd")


def test_the_published_schema_is_current():
    current = json.dumps(EmotionsRecord.model_json_schema(), indent=2) + "\n"
    published = REPOSITORY / "docs/emotions.schema.json"
    assert published.read_text(encoding="utf-8") == current, (
        "write it again: python -c 'import json; from dferc.results.emotions.schema import EmotionsRecord; "
        "print(json.dumps(EmotionsRecord.model_json_schema(), indent=2))' > docs/emotions.schema.json"
    )


def test_csv_has_a_row_per_utterance_and_repeats_the_warning(tmp_path):
    emotions = synthetic(hostile(abstain=0.9))
    emotions.utterances[2].emotion = None
    emotions.utterances[3].start_s = emotions.utterances[3].end_s = None
    emotions.to_csv(tmp_path / "emotions.csv")
    with open(tmp_path / "emotions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == list(HOSTILE)
    assert [row["synthetic"] for row in rows] == [SYNTHETIC] * len(rows)
    assert rows[2]["emotion"] == "undecided" and rows[2]["most_probable"] in CLASSES
    assert rows[3]["start_s"] == rows[3]["end_s"] == "" and rows[1]["start_s"] == "1.500"
    assert float(rows[0]["p_joy"]) == pytest.approx(emotions.utterances[0].probabilities["joy"], rel=1e-5)
    assert rows[4]["absent"] == "visual: no face was found"


def test_write_writes_every_format_twice_with_the_same_bytes(tmp_path):
    pytest.importorskip("pympi")
    pytest.importorskip("praatio")
    for folder in ("one", "two"):
        paths = hostile().write(tmp_path / folder, media=tmp_path / "talk.webm")
        assert sorted(path.name for path in paths) == sorted(FILES.values())
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(FILES.values())
    for name in FILES.values():
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_write_refuses_formats_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"'text_grid'.*expected one of.*Did you mean 'textgrid'"):
        talk(1).write(tmp_path, formats=("json", "text_grid"))
    assert not list(tmp_path.iterdir())


def test_without_times_what_holds_times_alone_is_left_out_with_a_note(tmp_path, capsys):
    emotions = talk(utterances=[utterance(0, start_s=None, end_s=None)])
    names = [path.name for path in emotions.write(tmp_path)]
    assert names == ["emotions.json", "emotions.csv", "index.html"]
    assert "talk.webm: no utterance has a time" in " ".join(capsys.readouterr().err.split())


def test_no_speech_is_an_empty_result_in_every_format(tmp_path):
    for path in talk(utterances=[]).write(tmp_path):
        assert path.exists()
    assert (tmp_path / "emotions.srt").read_text(encoding="utf-8") == ""
    assert Emotions.read(tmp_path / "emotions.json").utterances == []


@pytest.mark.parametrize(
    ("temperatures", "shown"),
    [
        ((1.31, 0.793), "calibrated, temperature 1.31, and 0.793 of the mean over the seeds."),
        ((1.31, None), "calibrated, temperature 1.31."),
        ((None, None), "not calibrated."),
    ],
)
def test_page_names_the_temperatures(tmp_path, temperatures, shown):
    emotions = talk(2)
    emotions.model.temperature, emotions.model.temperature_of_mean = temperatures
    emotions.write(tmp_path, formats=("html",))
    assert shown in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_document_of_a_long_recording_is_read_again(tmp_path):
    emotions = talk(utterances=[utterance(at, text="so they say " * 200) for at in range(6000)])
    emotions.to_json(tmp_path / "emotions.json")
    assert len(Emotions.read(tmp_path / "emotions.json").utterances) == 6000
