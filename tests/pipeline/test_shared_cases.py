"""Inputs from the world that went wrong once (`cases` in $DFERC_SHARED), through the commands: a row per case.

Each kind has tests with inputs built by code elsewhere; these hold the very files of the reports.
"""

import csv
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from dferc.cli.main import main as dferc
from dferc.core.errors import InputError
from dferc.store.hdf5 import read_corpus
from pipeline import extract_audio
from pipeline.extract_audio import configuration_hash
from pipeline.prepare import main as prepare
from pipeline.settings import load_settings
from tests.helpers.clips import SHARED
from tests.helpers.corpora import REPOSITORY

CASES = SHARED / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no inputs from the world in $DFERC_SHARED/cases")

SUBTITLES = {"table": "subtitles"}
SPOKEN = {"1": ("ANNA", "What a day this was."), "2": ("BO", "You won, be glad!"), "3": ("ANNA", "I am so happy.")}
ROLLING = (
    ("1", "so I opened the letter this morning"),
    ("3", "and honestly I could not believe it"),
    ("5", "they have given me the flat"),
    ("7", "I am so happy I could cry"),
    ("9", "but my brother is furious"),
    ("11", "he says it should be his"),
)


class Case(NamedTuple):
    """What `prepare` makes of a folder: texts, speakers or emotions by id, and parts of its problems."""

    folder: str
    options: dict
    expected: dict[str, str | tuple[str, str]]  # by id: text, or speaker and text, or emotion (a table's)
    problems: tuple[str, ...] = ()
    column: str = "text"


def spoken(*names: str) -> dict[str, tuple[str, str]]:
    return {f"{name}_{number}": row for name in names for number, row in SPOKEN.items()}


ALL = [
    Case(
        "01-youtube-rolling/raw",
        SUBTITLES,
        {f"talk.en_{number}": text for number, text in ROLLING},
        ("rolling captions: 12 cues show 6 texts | merged",),
    ),
    Case(
        "02-crcrlf/raw",
        SUBTITLES,
        {
            "talk_1": ("ANNA", "What a day this was."),
            "talk_2": ("BO", "You won, you should be glad!"),
            "talk_3": ("ANNA", "I am so happy, thank you."),
        },
    ),
    # Each name occurs once: none repeats, and nothing but the pronouns tells it from "Listen: …".
    Case(
        "04-speaker-names/raw",
        SUBTITLES,
        {"talk_2": ("Jo Berg", "I am so happy today."), "talk_8": ("", "Listen: this is bad.")},
        (
            "'(she/her)' | left out",
            "named in some cues only: 1 of 8",
            "'王芳' (line 28)",
            "prepare.options.speaker_prefix",
        ),
    ),
    Case(
        "04-speaker-names/raw",
        SUBTITLES | {"speaker_prefix": ["Maria de la Cruz", "李雷", "김민수", "أحمد", "anna", "王芳"]},
        {
            "talk_1": ("Maria de la Cruz", "I am so happy today."),
            "talk_5": ("أحمد", "I am so happy today."),
            "talk_6": ("anna", "I am so happy today."),
            "talk_7": ("王芳", "我很高兴。"),
            "talk_8": ("", "Listen: this is bad."),
        },
        ("'Listen' (line 32)",),
    ),
    Case(
        "06-two-audio-tracks/raw",
        SUBTITLES,
        spoken("obs", "single"),
        ("obs.mkv | several sound tracks: number 2 of 2 (marked as default)",),
    ),
    Case(
        "08-adts-aac/raw",
        SUBTITLES,
        {"memo_6": "This is sentence six.", "memo_10": "This is sentence ten."},
        ("memo.aac | length claimed wrongly: 20.185 s by header or bit rate, 40.031 s by content",),
    ),
    Case(
        "08-adts-aac/clips",
        {"table": "utterances.csv"},
        {"d1_0": "12.028", "d1_1": "12.028", "d1_2": "12.028"},
        ("6.342 s by header or bit rate, 12.028 s by content",),
        column="end_s",
    ),
    Case(
        "11-na-labels/raw",
        {"table": "utterances.csv"},
        {"d1_0": "joy", "d1_1": "", "d2_1": "anger", "d4_1": "", "d6_0": "", "d6_1": "joy"},
        ("no emotion label: 3 of 12 (spelled 'NA' 3)", "missing values of speaker: 'NA' 1, first line 13"),
        column="emotion",
    ),
    Case(
        "12-srt-numbers/raw",
        SUBTITLES | {"labels": "labels.csv"},
        {"talk_1": "", "talk_2": "", "talk_4": "joy", "talk_5": "anger", "talk_6": ""},
        ("talk.srt, line 10", "4 comes after 2 | the file's own numbers are kept"),
        column="emotion",
    ),
    Case("15-camcorder-mts/raw", SUBTITLES, spoken("00012")),
]


def prepared(raw: Path, root: Path, options: dict) -> Result:
    """Run the stage over a folder; it writes rows.csv, problems.csv and features/utterances.h5 below `root`."""
    yaml = YAML(typ="safe", pure=True)
    document = yaml.load(REPOSITORY / "params.yaml")
    document["mine"]["prepare"]["options"] |= options
    yaml.dump(document, root / "params.yaml")
    places = {"params": "params.yaml", "utterances": "rows.csv", "problems": "problems.csv"}
    places |= {"features": "features/utterances.h5"}
    named = [part for name, place in places.items() for part in (f"--{name}", str(root / place))]
    return CliRunner().invoke(prepare, ["--corpus", "mine", "--raw", str(raw), *named])


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def problems_in(path: Path) -> str:
    return "\n".join(" | ".join(row.values()) for row in read_table(path))


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.folder.replace("/raw", ""))
def test_case_is_read_as_it_is_right(tmp_path, case):
    result = prepared(CASES / case.folder, tmp_path, case.options)
    assert result.exit_code == 0, result.output
    rows = {row["utterance_id"]: row for row in read_table(tmp_path / "rows.csv")}
    for name, expected in case.expected.items():
        if case.column == "end_s":
            assert float(rows[name]["end_s"]) == pytest.approx(float(expected), abs=0.001)
        elif isinstance(expected, tuple):
            assert (rows[name]["speaker"], rows[name]["text"]) == expected
        else:
            assert rows[name][case.column] == expected
    found = problems_in(tmp_path / "problems.csv")
    assert all(part in found for part in case.problems), found
    has_sound = {row["has_audio"] for row in rows.values()}
    assert has_sound == ({"False"} if "11-na" in case.folder else {"True"})


def test_channels_of_opposite_phase_are_one_channel_and_are_listed(tmp_path):
    raw = CASES / "07-inverted-stereo/raw"
    assert prepared(raw, tmp_path, SUBTITLES).exit_code == 0
    places = {"table": "rows.csv", "utterances": "features/utterances.h5", "params": "params.yaml"}
    places |= {"out": "audio.h5", "problems": "p.csv", "log": "l.json", "scratch": "s.sqlite"}
    named = [part for name, place in places.items() for part in (f"--{name}", str(tmp_path / place))]
    arguments = ["--corpus", "mine", "--raw", str(raw), *named, "--workers", "0"]
    result = CliRunner().invoke(extract_audio.main, arguments)
    assert result.exit_code == 0, result.output
    found = problems_in(tmp_path / "p.csv")
    assert found.count("opposite phase") == 3 and "only channel" in found and "inverted.mp4" in found, found


def test_included_file_of_a_configuration_is_part_of_its_identity(tmp_path):
    shutil.copytree(CASES / "13-opensmile-conf/conf", tmp_path / "conf")
    before = configuration_hash(str(tmp_path / "conf/mine.conf"))
    with open(tmp_path / "conf/parts.inc", "a") as file:
        file.write("\n; edited\n")
    assert configuration_hash(str(tmp_path / "conf/mine.conf")) != before


@pytest.mark.parametrize("name", ["float.parquet", "nullable_int.parquet", "objint.npz"])
def test_labels_with_missing_values_are_classes_and_unlabelled_rows(tmp_path, name):
    result = imported(CASES / "10-parquet-nullable" / name, tmp_path)
    assert result.exit_code == 0, result.output
    rows = read_corpus(tmp_path / "features/case").utterances
    assert rows.classes == ("0", "1", "2") and [int((rows.emotion == n).sum()) for n in (-1, 0, 1, 2)] == [5, 6, 7, 6]


def imported(path: Path, root: Path) -> Result:
    return CliRunner().invoke(dferc, ["import", str(path), "--corpus=case", f"--features={root / 'features'}"])


def test_features_of_mmsa_are_imported(tmp_path):
    assert imported(CASES / "17-other-formats/unaligned_50.pkl", tmp_path).exit_code == 0
    corpus = read_corpus(tmp_path / "features/case")
    assert [corpus.modalities[name].width for name in ("text", "audio", "visual")] == [16, 5, 20]
    assert corpus.utterances.classes == ("negative", "neutral", "positive")


@pytest.mark.parametrize(("name", "parts"), [
    ("a.joblib.z", ("joblib", "zlib", "(24, 8)", ".npz")),
    ("audio_embeddings_feature_selection_emotion.pkl", ("MELD's own", "1611 wide", "data_emotion.p", "--transcripts")),
    ("feats.safetensors", ("safetensors", "'text' (24, 8)", "`dialogue`", ".npz")),
    ("utt.pkl", ("by utterance id", "dia0_utt0", "labels and splits", "--transcripts")),
])  # fmt: skip
def test_features_without_labels_or_of_another_format_are_named_for_what_they_are(tmp_path, name, parts):
    result = imported(CASES / "17-other-formats" / name, tmp_path)
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and message.count("error:") == 1 and name in message
    assert all(part in message for part in parts), message


def test_hostile_files_are_refused_and_odd_clips_are_problems_of_their_own(tmp_path):
    hostile = CASES / "hostile"
    result = imported(hostile / "y_bz4g.npz", tmp_path)
    assert result.exit_code == 1 and "bzip2" in result.stderr, result.output
    with pytest.raises(InputError, match=r"dupinner\.yaml.*epochs"):
        load_settings(hostile / "dupinner.yaml")
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("hls_self.m3u8", "latin1_title.wav"):
        shutil.copy(hostile / name, raw)
    (raw / "u.csv").write_text("dialogue_id,text,media\na,one,hls_self.m3u8\na,two,latin1_title.wav\n")
    result = prepared(raw, tmp_path, {"table": "u.csv"})  # half of the clips: above `max_unreadable`
    message = " ".join(result.output.split())
    assert result.exit_code == 1 and "1 of 2" in message and "hls" in message and "latin1" not in message, message
