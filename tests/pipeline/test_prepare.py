"""prepare: what is measured in the clips becomes rows and problems; a corpus without its media is refused."""

import itertools
import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.core.errors import InputError
from dferc.store import hdf5 as store
from dferc.store import rows as corpus
from pipeline import corpora, prepare
from pipeline.rows import measure
from pipeline.rows.utterances import Region, Utterance, read_utterances_csv
from tests.helpers.clips import SHARED, tone, truncate, write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.meld_files import ROWS, read_csv, write_csvs
from tests.helpers.odd_media import LISTS, write_tracks

PICTURES = [np.full((32, 48), 20 * number, np.uint8) for number in range(10)]
"""One second at 10 frames per second."""

OUTPUTS = ("utterances.csv", "problems.csv", "utterances.h5")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Make a miniature MELD whose clips show every fault; see `CLIPS_MEASURED`."""
    folder = write_csvs(tmp_path_factory.mktemp("meld") / "raw")
    clip = write_clip_in(folder)
    clip("train/dia0_utt0", sound=tone(1), pictures=PICTURES)
    clip("train/dia0_utt1", pictures=PICTURES[:5])
    clip("train/dia0_utt3", sound=tone(1.5))
    truncate(clip("train/dia2_utt0", sound=tone(1), pictures=PICTURES), 0.5)  # cuts the index off, MELD's "moov atom"
    clip("dev/dia0_utt0", pictures=PICTURES[:1], frames_per_s=20)
    clip("dev/dia0_utt1", pictures=[])
    clip("test/dia7_utt0", pictures=itertools.repeat(PICTURES[0], 300), frames_per_s=1)
    return folder


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    """Prepare the miniature; return the result and the folder of the outputs."""
    folder = tmp_path_factory.mktemp("prepared")
    result, out = _run(folder, raw, _params(folder, max_unreadable=0.4))
    assert result.exit_code == 0, result.output
    return result, out


CLIPS_MEASURED = {
    "train_dia0_utt0": (1.0, True, True),
    "train_dia0_utt1": (0.5, False, True),
    "train_dia0_utt3": (1.5, True, False),
    "train_dia2_utt0": (0.0, False, False),
    "dev_dia0_utt0": (0.05, False, True),
    "dev_dia0_utt1": (0.0, False, False),
    "test_dia7_utt0": (30.0, False, True),
    "test_dia7_utt1": (0.0, False, False),
}
"""Seconds used, sound, picture. Three of eight clips give nothing: cut off, without a frame, missing."""


def write_clip_in(folder):
    def clip(name, **content):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        return write_clip(path, **content)

    return clip


def _params(tmp_path, **settings):
    """params.yaml with other values in the `prepare` section."""
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    for key, value in settings.items():
        text, count = re.subn(rf"(?m)^  {key}: \S+", f"  {key}: {value}", text, count=1)
        assert count == 1, key
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _run(tmp_path, raw, params, *more):
    out = tmp_path / "out"
    options = {"corpus": "meld", "params": params, "raw": raw, "workers": 0}
    options |= dict(zip(("utterances", "problems", "features"), (out / name for name in OUTPUTS), strict=True))
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return CliRunner().invoke(prepare.main, [*arguments, *more]), out


def _flat(text):
    """Words of a message without the line breaks of a narrow terminal."""
    return re.sub(r"\s+", " ", text)


# ---------------------------------------------------------------------------------------------------- whole runs


def test_measured_clips_become_rows(prepared):
    _, out = prepared
    rows = {row.utterance_id: row for row in read_utterances_csv(out / "utterances.csv")}
    assert list(rows) == list(CLIPS_MEASURED)
    for name, (end_s, has_audio, has_video) in CLIPS_MEASURED.items():
        row = rows[name]
        assert (row.start_s, row.has_audio, row.has_video) == (0.0, has_audio, has_video), name
        # AAC comes in frames of 64 ms: a sound track is up to one frame longer than what went in.
        assert end_s <= row.end_s <= end_s + (0.13 if has_audio else 0.001), name


def test_every_fault_of_a_clip_is_in_the_problems_table(prepared):
    _, out = prepared
    table = [row for row in read_csv(out / "problems.csv") if not row["problem"].startswith("count differs")]
    problems = {(row["where"], row["file"], row["problem"]) for row in table}
    assert problems == {
        ("train_dia0_utt1", "train/dia0_utt1.mp4", "no sound track"),
        ("train_dia0_utt3", "train/dia0_utt3.mp4", "no picture"),
        ("train_dia2_utt0", "train/dia2_utt0.mp4", "unreadable: Invalid data found when processing input"),
        ("dev_dia0_utt0", "dev/dia0_utt0.mp4", "very short: 0.050 s"),
        ("dev_dia0_utt0", "dev/dia0_utt0.mp4", "no sound track"),
        ("dev_dia0_utt1", "dev/dia0_utt1.mp4", "unreadable: neither a sound nor a picture decodes"),
        ("test_dia7_utt0", "test/dia7_utt0.mp4", "too long: 300.0 s, cut at 30 s"),
        ("test_dia7_utt0", "test/dia7_utt0.mp4", "no sound track"),
        ("test_dia7_utt1", "test/dia7_utt1.mp4", "clip missing"),
    }
    assert all(row["consequence"] for row in table)


def test_trainer_gets_the_same_rows(prepared):
    _, out = prepared
    rows = store.read_utterances(out / "utterances.h5")

    assert (rows.corpus, rows.classes[4]) == ("meld", "joy")
    assert rows.utterance_id.tolist() == list(CLIPS_MEASURED)
    assert rows.position.tolist() == [0, 1, 3, 0, 0, 1, 0, 1]
    assert rows.emotion.tolist() == [0, 4, 4, 2, 6, 0, 1, 5]
    unusable = [not (sound or picture) for _, sound, picture in CLIPS_MEASURED.values()]
    assert np.isnan(rows.start_s).tolist() == np.isnan(rows.end_s).tolist() == unusable
    assert rows.end_s[6] == 30.0


def test_report_shows_the_counts_of_the_corpus(prepared):
    result, _ = prepared
    printed = _flat(result.stderr)

    for line in (
        "dialogues 2 1 1",
        "of one utterance 1 0 0",
        "with gaps in positions 1 0 0",
        "utterances 4 2 2",
        "joy 2 0 0",
        "with sound 2 0 0",
        "with a picture 2 1 1",
        "3 no sound track; first: train_dia0_utt1:",
        "2 unreadable; first: train_dia2_utt0",
    ):
        assert f" {line}" in printed, line


def test_summary_shows_rows_speakers_and_files(prepared):
    printed = _flat(prepared[0].stderr)
    assert "rows: 8 read, 8 used, 0 of them unlabelled" in printed
    assert "speakers: 1, rows without one: 0; Joey 8" in printed and "files unused: " in printed


def test_too_many_unreadable_clips_fail_but_are_all_listed(tmp_path, raw):
    """Three of eight clips are unusable: 37.5 %."""
    result, out = _run(tmp_path, raw, _params(tmp_path, max_unreadable=0.37))

    assert result.exit_code == 1
    assert "3 of 8 clips are missing or unreadable (37.5%; allowed: 37.0%)" in result.stderr
    assert "test/dia7_utt1.mp4: clip missing" in result.stderr and "meld.prepare.max_unreadable" in result.stderr
    assert [path.name for path in out.iterdir()] == ["problems.csv"]
    assert "test_dia7_utt1" in {row["where"] for row in read_csv(out / "problems.csv")}


def test_share_of_unreadable_clips_may_be_reached(tmp_path, raw):
    assert _run(tmp_path, raw, _params(tmp_path, max_unreadable=0.375))[0].exit_code == 0


def test_same_input_gives_the_same_bytes_with_any_number_of_workers(tmp_path, raw, prepared):
    result, out = _run(tmp_path, raw, _params(tmp_path, max_unreadable=0.4), "--workers", "2")

    assert result.exit_code == 0, result.output
    assert [(out / name).read_bytes() for name in OUTPUTS] == [(prepared[1] / name).read_bytes() for name in OUTPUTS]


def test_csvs_alone_make_a_text_only_corpus(tmp_path):
    result, out = _run(tmp_path, write_csvs(tmp_path / "raw"), _params(tmp_path, max_unreadable=0.0))

    assert result.exit_code == 0, result.output
    assert "a text-only corpus" in result.stderr
    rows = read_utterances_csv(out / "utterances.csv")
    assert not any(row.media or row.has_audio or row.has_video for row in rows)
    assert np.isnan(store.read_utterances(out / "utterances.h5").start_s).all()
    assert {row["problem"].partition(":")[0] for row in read_csv(out / "problems.csv")} == {"count differs"}


@pytest.mark.skipif(not (SHARED / "data" / "MELD").is_dir(), reason="no MELD CSVs in $DFERC_SHARED/data/MELD")
def test_published_meld_is_prepared_from_its_csvs(tmp_path):
    result, out = _run(tmp_path, SHARED / "data" / "MELD", REPOSITORY / "params.yaml")

    assert result.exit_code == 0, result.output
    printed = _flat(result.stderr)
    assert " of one utterance 70 6 12 " in printed and " with gaps in positions 72 2 2 " in printed
    rows = store.read_utterances(out / "utterances.h5")
    assert len(rows) == 13708
    assert rows.speaker_order.max() + 1 == 9  # hence the width of the field's speaker vectors


def test_outputs_lie_where_the_corpus_name_says(tmp_path, monkeypatch):
    write_csvs(tmp_path / "data" / "raw" / "meld")
    _params(tmp_path)
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(prepare.main, ["--corpus", "meld", "--workers", "0"])

    assert result.exit_code == 0, result.output
    for path in ("data/meld/utterances.csv", "data/meld/problems.csv", "features/meld/utterances.h5"):
        assert (tmp_path / path).exists(), path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_unreadable": 2}, "prepare.max_unreadable: got 2 (int); input should be less than or equal to 1"),
        ({"max_utterance_s": "'long'"}, "prepare.max_utterance_s: got 'long' (str)"),
    ],
)
def test_faulty_settings_stop_it_before_anything_is_read(tmp_path, settings, message):
    result, out = _run(tmp_path, tmp_path / "nowhere", _params(tmp_path, **settings))

    assert result.exit_code == 1 and message in _flat(result.stderr) and not out.exists()


def test_unknown_corpus_and_missing_folder_are_one_line(tmp_path):
    result, _ = _run(tmp_path, tmp_path / "nowhere", REPOSITORY / "params.yaml")
    unknown, _ = _run(tmp_path, tmp_path, REPOSITORY / "params.yaml", "--corpus", "mled")

    assert result.exit_code == 1 and "nowhere: no such folder. Put MELD there" in _flat(result.stderr)
    assert unknown.exit_code == 1 and "no block for the corpus 'mled'" in _flat(unknown.stderr)
    assert "Traceback" not in result.output + unknown.output


# ---------------------------------------------------------------------------------------------------- parts

ROW = Utterance(
    utterance_id="u", dialogue_id="d", position=0, speaker="", emotion="", split="train", text="t", media="c"
)


def test_odd_media_are_listed_once_and_never_end_the_corpus(tmp_path):
    raw = write_csvs(tmp_path / "raw")
    clip = write_clip_in(raw)
    clip("train/dia0_utt0", pictures=PICTURES, sound=tone(1))
    tracks = write_tracks(tmp_path / "tracks.mkv", [tone(1), tone(1)], 1)
    tracks.rename(raw / "train/dia0_utt1.mp4")
    (raw / "train/dia2_utt0.mp4").write_text(LISTS["HLS, naming itself"], encoding="utf-8")
    os.mkfifo(raw / "train/dia0_utt3.mp4")

    result, out = _run(tmp_path, raw, _params(tmp_path, max_unreadable=1.0))
    assert result.exit_code == 0, result.output
    table = read_csv(out / "problems.csv")
    problems = {row["file"]: row["problem"] for row in table if row["file"].startswith("train/")}
    assert "train/dia0_utt0.mp4" not in problems
    assert problems["train/dia2_utt0.mp4"].startswith("unreadable: HLS")
    assert problems["train/dia0_utt3.mp4"].startswith("unreadable: a FIFO")
    listed = [row for row in table if row["problem"].startswith("several sound tracks")]
    assert [(row["where"], row["consequence"]) for row in listed] == [
        ("train/dia0_utt1.mp4", "the other tracks are not used")
    ]


def test_identical_clips_of_a_corpus_are_in_its_problems_table(tmp_path):
    clip = write_clip_in(write_csvs(tmp_path / "raw"))
    clip("train/dia0_utt0", pictures=PICTURES)
    clip("dev/dia0_utt0", pictures=PICTURES)

    _, out = _run(tmp_path, tmp_path / "raw", _params(tmp_path, max_unreadable=1.0))
    problems = {row["file"]: (row["problem"], row["consequence"]) for row in read_csv(out / "problems.csv")}
    assert problems["dev/dia0_utt0.mp4"] == (
        "identical clips: same bytes as train/dia0_utt0.mp4",
        "kept, labelled anger; the earlier one: neutral",
    )
    rows = store.read_utterances(out / "utterances.h5")
    assert dict(zip(rows.utterance_id[rows.media_group == 0], rows.split[rows.media_group == 0], strict=True)) == {
        "train_dia0_utt0": "train",
        "dev_dia0_utt0": "validation",
    }
    # Eight rows, two clips: six are missing, two have no sound, one is a copy with another label.
    problems = {(note.what, note.count, note.why) for note in rows.notes if note.what.startswith("utterances: ")}
    assert problems == {
        ("utterances: clip missing", 6, "no audio and no visual; the text is kept"),
        ("utterances: no sound track", 2, "no audio; picture and text are kept"),
    }
    (copies,) = [note for note in rows.notes if note.what == "clips with the bytes of an earlier one"]
    assert (copies.action, copies.count, copies.why) == (
        "kept",
        1,
        "1 of them under another label than the earlier one",
    )


@pytest.mark.parametrize(("has_video", "span"), [(True, (20.0, 21.5)), (False, (0.0, 1.4))])
def test_trainer_gets_the_span_of_the_picture_where_there_is_one(has_video, span):
    values = {"start_s": 20.0, "end_s": 21.5, "sound": "u.wav", "sound_end_s": 1.4}
    row = replace(ROW, **values, has_audio=True, has_video=has_video)
    rows = prepare.to_store("demo", corpora.RawCorpus(classes=("joy",), protocol="p", utterances=[row]), [row])

    assert (rows.start_s[0], rows.end_s[0]) == span


def test_unlabelled_rows_are_kept_as_context():
    found = corpora.RawCorpus(classes=("joy",), protocol="p", utterances=[ROW])

    assert prepare.to_store("demo", found, [ROW]).emotion.tolist() == [corpus.UNLABELLED]


def test_emotion_that_is_no_class_is_refused():
    rows = [replace(ROW, emotion="glee")]

    with pytest.raises(InputError, match="u: emotion 'glee' is none of joy, anger"):
        prepare.to_store("demo", corpora.RawCorpus(classes=("joy", "anger"), protocol="p", utterances=rows), rows)


MINE = """
from pipeline.corpora import RawCorpus
from pipeline.rows.utterances import Utterance

def read(raw, settings):
    rows = []
    for line in (raw / "lines.txt").read_text(encoding="utf-8").splitlines():
        name, position, split, text = line.split("|")
        words = dict(utterance_id=name, dialogue_id="d", speaker="", emotion="", split=split, text=text or None)
        rows.append(Utterance(position=int(position), media="clip.mp4", **words))
    return RawCorpus(classes=("joy", "neutral"), protocol="p", utterances=rows) if rows else rows
"""


def _run_own_adapter(tmp_path, monkeypatch, lines):
    """`prepare` with an adapter of the user's own, on such lines."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "own_corpus.py").write_text(MINE)
    (tmp_path / "lines.txt").write_text(lines)
    monkeypatch.setattr(corpora, "__path__", [*corpora.__path__, str(tmp_path / "adapters")])
    monkeypatch.delitem(sys.modules, "pipeline.corpora.own_corpus", raising=False)
    monkeypatch.setattr(measure, "probe", lambda path: pytest.fail("a clip was opened"))
    options = "\n    options:\n      labels: emotion +#.*\n +dialogues.*\n"
    block = (
        REPOSITORY.joinpath("params.yaml").read_text(encoding="utf-8").replace("adapter: meld", "adapter: own_corpus")
    )
    (tmp_path / "params.yaml").write_text(re.sub(options, "\n", block))
    return _run(tmp_path, tmp_path, tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "u|one|train|Hi",
            "own_corpus.py, line 10: the adapter failed on {raw} (ValueError: invalid literal for int()",
        ),
        ("u|0|train", "own_corpus.py, line 8: the adapter failed on {raw} (ValueError: not enough values to unpack"),
        ("", "own_corpus.py: its read() gave list; expected a RawCorpus"),
        ("u|0|train|Hi\nu|1|train|Ho", "{raw}: duplicate utterance ids: u. These rows come from the adapter pipeline"),
        ("u|0|dev|Hi", "{raw}: unknown split(s) 'dev'; expected train, validation, test. These rows come from"),
        (
            "u|0|train|H\0",
            "{raw}: 'u': text holds a NUL character: 'H\\x00'. These rows come from the adapter pipeline",
        ),
        ("u|0|train|", "{raw}: u: text is None, expected text. These rows come from the adapter pipeline/corpora/own"),
    ],
)
def test_fault_of_an_adapter_names_it_before_a_clip_is_opened(tmp_path, monkeypatch, lines, message):
    result, out = _run_own_adapter(tmp_path, monkeypatch, lines)

    assert result.exit_code == 1 and "Traceback" not in result.output and not out.exists()
    assert message.format(raw=tmp_path) in _flat(result.stderr)


def test_class_weights_for_no_class_stop_it_before_a_clip_is_opened(tmp_path, raw, monkeypatch):
    monkeypatch.setattr(measure, "probe", lambda path: pytest.fail("a clip was opened"))
    params = _params(tmp_path)
    params.write_text(params.read_text(encoding="utf-8").replace("{neutral: 1.0,", "{bliss: 1.0,"), encoding="utf-8")
    result, out = _run(tmp_path, raw, params)

    assert result.exit_code == 1 and "meld.train.class_weights: not a class: bliss" in _flat(result.stderr)
    assert not out.exists()


def test_settings_that_ask_for_what_is_not_there_stop_it_before_anything_is_read(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(
        (REPOSITORY / "params.yaml").read_text(encoding="utf-8").replace("encoder: IS10", "encoder: IS99")
    )
    result, out = _run(tmp_path, tmp_path / "nowhere", params)

    assert result.exit_code == 1 and "meld.extract_audio.encoder: 'IS99' is neither" in _flat(result.stderr)
    assert not out.exists()


def test_miniature_is_what_the_expectations_above_count():
    assert [f"{split}_dia{row[0]}_utt{row[1]}" for split, rows in ROWS.items() for row in rows] == list(CLIPS_MEASURED)


@pytest.mark.parametrize(
    ("change", "file"),
    [
        ({"sound": "b.wav", "sound_start_s": 1.0, "sound_end_s": 1.9}, "audio"),
        ({"region": Region(right=0.5)}, "visual"),  # another crop of IEMOCAP
    ],
)
def test_features_of_another_sound_of_its_own_are_refused(tmp_path, change, file):
    """Its file and span are in no other column, so an audio.h5 of before would pass."""
    row = Utterance(utterance_id="a", dialogue_id="a", position=0, speaker="", emotion="", split="test", text="Hello")
    row = replace(row, media="a.mp4", end_s=1.0, sound="a.wav", sound_end_s=0.9, has_audio=True, has_video=True)
    moved = replace(row, **change)
    before, now = (
        prepare.to_store("demo", corpora.RawCorpus(classes=("joy",), protocol="one", utterances=[each]), [each])
        for each in (row, moved)
    )
    made = {
        modality: corpus.Features(
            modality=modality,
            corpus="demo",
            features=np.ones((1, 2), np.float32),
            present=np.ones(1, bool),
            utterance_id=before.utterance_id,
            identity={"rows_hash": before.rows_hash, "content_hash": before.content_hash(modality)},
        )
        for modality in ("text", "audio", "visual")
    }
    for modality, features in made.items():
        store.write_features(tmp_path / f"{modality}.h5", features)
    store.write_utterances(tmp_path / "utterances.h5", before)
    assert set(store.read_corpus(tmp_path).modalities) == {"text", "audio", "visual"}
    store.write_utterances(tmp_path / "utterances.h5", now)
    with pytest.raises(InputError, match=rf"{file}\.h5 was made of other media files, starts or ends"):
        store.read_corpus(tmp_path)
