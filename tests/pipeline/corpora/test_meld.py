"""The MELD adapter, on the published CSVs where they are at hand, and on miniatures of every layout and fault."""

import os
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.store.card import card_hash
from dferc.store.hdf5 import read_utterances
from dferc.store.vocabulary import SPLITS
from pipeline import corpora
from pipeline.corpora import meld
from pipeline.corpora._published_csv import list_files
from pipeline.prepare import to_store
from tests.helpers.clips import SHARED, tone, write_clip
from tests.helpers.corpora import prepare_settings
from tests.helpers.meld_files import CSVS, ROWS, csv_text, touch, write_csvs

needs_meld = pytest.mark.skipif(
    not (SHARED / "data" / "MELD" / "train_sent_emo.csv").exists(), reason="no MELD CSVs in $DFERC_SHARED/data/MELD"
)


def read(raw, **options):
    return corpora.read(raw, prepare_settings("meld", **options))


def _kinds(found):
    return Counter(problem.kind for problem in found.problems)


def _medias(found):
    return {row.utterance_id: row.media for row in found.utterances}


# ---------------------------------------------------------------------------------------------------- published CSVs


@pytest.fixture(scope="module")
def published():
    return read(SHARED / "data" / "MELD")


@needs_meld
def test_published_counts_are_the_documented_ones(published):
    per_split = {split: [row for row in published.utterances if row.split == split] for split in SPLITS}

    assert published.classes == ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
    assert {split: len(rows) for split, rows in per_split.items()} == {"train": 9989, "validation": 1109, "test": 2610}
    assert {
        split: [Counter(row.emotion for row in rows)[name] for name in published.classes]
        for split, rows in per_split.items()
    } == {
        "train": [4710, 1205, 268, 683, 1743, 271, 1109],
        "validation": [470, 150, 40, 111, 163, 22, 153],
        "test": [1256, 281, 50, 208, 402, 68, 345],
    }
    assert published.protocol == "MELD, 7 emotions, published splits"


@needs_meld
def test_published_dialogues_keep_their_gaps(published):
    """Dialogues, those with gaps in Utterance_ID, those of one utterance, and the longest, per split."""
    positions = {}
    for row in published.utterances:
        positions.setdefault((row.split, row.dialogue_id), []).append(row.position)
    facts = {split: [places for (of, _), places in positions.items() if of == split] for split in SPLITS}

    assert {
        split: (
            len(dialogues),
            sum(places != list(range(len(places))) for places in dialogues),
            sum(len(places) == 1 for places in dialogues),
            max(map(len, dialogues)),
        )
        for split, dialogues in facts.items()
    } == {"train": (1038, 72, 70, 24), "validation": (114, 2, 6, 23), "test": (280, 2, 12, 33)}
    assert ("train", "train_60") not in positions


@needs_meld
def test_published_rows_that_share_their_times_are_listed(published):
    """FIELD says that all 40 of the training split conflict; 10 of their 20 spans do."""
    shared = [problem for problem in published.problems if problem.kind == "same times"]
    rows, conflicts = Counter(), Counter()
    for problem in shared:
        split = problem.where.partition("_")[0]
        rows[split] += 1 + problem.problem.count("_dia")
        conflicts[split] += len(set(problem.consequence.removeprefix("kept, labelled ").split(", "))) > 1

    assert rows == {"train": 40, "dev": 2, "test": 8}
    assert conflicts == {"train": 10, "test": 3, "dev": 0}


@needs_meld
def test_published_spans_in_two_splits_are_listed(published):
    shared = [problem for problem in published.problems if problem.kind == "same times in two splits"]

    assert [(problem.where, problem.problem.rpartition(" ")[2]) for problem in shared] == [
        ("train_dia12_utt7", "test_dia85_utt0"),
        ("train_dia12_utt8", "test_dia85_utt1"),
        ("train_dia53_utt0", "dev_dia52_utt2"),
        ("train_dia433_utt1", "dev_dia77_utt0"),
        ("train_dia887_utt0", "test_dia117_utt8"),
    ]
    assert {problem.kind for problem in published.problems} == {"same times", "same times in two splits"}


@needs_meld
def test_published_oddities_stand_on_the_protocol_card(published):
    assert [(note.action, note.what, note.count) for note in published.notes] == [
        ("kept", "rows that share their time span with another of their split", 50),
        ("kept", "time spans that stand in two splits", 5),
    ]
    assert published.notes[0].why == "as published; 13 of 25 such spans carry different labels"


@needs_meld
def test_published_rows_have_the_same_protocol_card_when_they_are_imported(published, tmp_path):
    """A run on features from elsewhere and one on ours are comparable, and say so."""
    table = SHARED / "data" / "meld_text_minilm.npz"
    given = ["import", table, "--transcripts", SHARED / "data" / "MELD", "--corpus", "meld", "--features", tmp_path]
    assert CliRunner().invoke(main, [str(word) for word in given]).exit_code == 0

    imported = read_utterances(tmp_path / "meld" / "utterances.h5")
    assert card_hash(imported) == card_hash(to_store("other", published, published.utterances))


@needs_meld
def test_published_sentiments_are_the_documented_ones():
    found = read(SHARED / "data" / "MELD", labels="sentiment")
    counts = Counter((row.split, row.emotion) for row in found.utterances)

    assert found.classes == ("neutral", "positive", "negative")
    assert [[counts[split, name] for name in found.classes] for split in SPLITS] == [
        [4710, 2334, 2945],
        [470, 233, 406],
        [1256, 521, 833],
    ]
    assert found.protocol == "MELD, 3 sentiments, published splits"


@needs_meld
def test_published_text_has_no_control_characters(published):
    assert not [row for row in published.utterances if re.search(r"[\x80-\xa0]", row.text + row.speaker)]


@needs_meld
@pytest.mark.parametrize("damage", ["cp1252 bytes", "C1 characters in UTF-8", "byte order mark"])
def test_published_text_in_a_broken_encoding_is_mended(published, tmp_path, damage):
    for name in CSVS.values():
        text = (SHARED / "data" / "MELD" / name).read_bytes().decode("utf-8")
        data = {
            "cp1252 bytes": lambda text=text: text.encode("cp1252"),
            "C1 characters in UTF-8": lambda text=text: text.encode("cp1252").decode("latin-1").encode("utf-8"),
            "byte order mark": lambda text=text: text.encode("utf-8-sig"),
        }[damage]()
        (tmp_path / name).write_bytes(data)

    found = read(tmp_path)
    assert found.utterances == published.utterances
    lines = "".join((SHARED / "data" / "MELD" / name).read_text("utf-8") for name in CSVS.values()).splitlines()
    damaged = {
        "cp1252 bytes": sum(not line.isascii() for line in lines),
        "C1 characters in UTF-8": sum(any(ord(sign) > 0xFF for sign in line) for line in lines),  # é stays é
        "byte order mark": 0,
    }
    assert sum(note.count for note in found.notes if note.action == "repaired") == damaged[damage]


# ---------------------------------------------------------------------------------------------------- rows


def test_rows_carry_ids_positions_and_splits(tmp_path):
    found = read(write_csvs(tmp_path))

    assert [(row.utterance_id, row.dialogue_id, row.position, row.split, row.emotion) for row in found.utterances] == [
        ("train_dia0_utt0", "train_0", 0, "train", "neutral"),
        ("train_dia0_utt1", "train_0", 1, "train", "joy"),
        ("train_dia0_utt3", "train_0", 3, "train", "joy"),
        ("train_dia2_utt0", "train_2", 0, "train", "fear"),
        ("dev_dia0_utt0", "dev_0", 0, "validation", "anger"),
        ("dev_dia0_utt1", "dev_0", 1, "validation", "neutral"),
        ("test_dia7_utt0", "test_7", 0, "test", "surprise"),
        ("test_dia7_utt1", "test_7", 1, "test", "disgust"),
    ]
    assert {row.speaker for row in found.utterances} == {"Joey"} and found.utterances[2].text == "Yes…"
    assert not any(row.media or row.has_audio or row.has_video or row.end_s for row in found.utterances)


def test_columns_may_come_in_another_order_behind_a_byte_order_mark(tmp_path):
    content = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\nWhat?,Joey,anger,0,0\nNothing.,Joey,neutral,0,1\n"
    plain = read(write_csvs(tmp_path))
    (tmp_path / CSVS["dev"]).write_text(content, encoding="utf-8-sig")

    assert read(tmp_path).utterances == plain.utterances


def test_shuffled_rows_come_back_in_order(tmp_path):
    write_csvs(tmp_path / "plain")
    write_csvs(tmp_path / "shuffled", {split: rows[::-1] for split, rows in ROWS.items()})

    plain, shuffled = (read(tmp_path / name) for name in ("plain", "shuffled"))
    assert plain.utterances == shuffled.utterances


def test_other_counts_than_published_are_reported_and_kept(tmp_path, capsys):
    found = read(write_csvs(tmp_path))
    printed = capsys.readouterr().err

    # Every split differs in its dialogues and in each of the seven classes.
    assert _kinds(found) == {"count differs": 24}
    assert "count differs: dialogues 2, published 1038" in {problem.problem for problem in found.problems}
    assert "2 / 1743" in printed and "scores are not comparable with papers" in printed and "other copy" in printed
    assert found.protocol == "MELD, 7 emotions, own selection (train 4, dev 2, test 2 utterances)"


@needs_meld
def test_published_copies_are_named(capsys):
    read(SHARED / "data" / "MELD")
    printed = capsys.readouterr().err

    assert printed.count("published copy") == 3 and "note:" not in printed and "text-only" in printed


def test_rows_that_share_their_times_are_listed(tmp_path):
    write_csvs(tmp_path)
    text = csv_text(ROWS["dev"]).replace("0:00:01,000", "0:00:00,000").replace("0:00:01,900", "0:00:00,900")
    (tmp_path / CSVS["dev"]).write_text(text, encoding="utf-8", newline="")

    (problem,) = [each for each in read(tmp_path).problems if each.kind == "same times"]
    assert (problem.where, problem.problem) == ("dev_dia0_utt0", "same times: as dev_dia0_utt1")
    assert problem.consequence == "kept, labelled anger, neutral"


def test_empty_text_is_kept_and_listed(tmp_path):
    found = read(write_csvs(tmp_path, ROWS | {"dev": [(0, 0, "joy", " "), (0, 1, "joy", "Ha")]}))

    assert [problem.where for problem in found.problems if problem.kind == "empty transcript"] == ["dev_dia0_utt0"]
    assert [row.text for row in found.utterances if row.split == "validation"] == ["", "Ha"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"You\x92re \x93in\x94\x85 \x96 caf\xe9\xa0\x97 \x91", "You’re “in”… – café — ‘"),
        ("You\x92re \x93in\x94\x85\u00a0caf\u00e9".encode(), "You’re “in”… café"),
        ("You’re “in”… café".encode(), "You’re “in”… café"),
    ],
)
def test_each_line_is_mended_by_itself(tmp_path, data, text):
    """A file may mix lines in UTF-8 and in cp1252; the header and the other rows here are UTF-8."""
    write_csvs(tmp_path)
    content = csv_text([(0, 0, "joy", "TEXT"), (0, 1, "joy", "naïve…")]).encode().replace(b"TEXT", data)
    (tmp_path / CSVS["dev"]).write_bytes(content)

    assert [row.text for row in read(tmp_path).utterances if row.split == "validation"] == [
        text,
        "naïve…",
    ]


# ---------------------------------------------------------------------------------------------------- layouts

_SPLITS = ("train_splits", "dev_splits_complete", "output_repeated_splits_test")
LAYOUTS = {
    "published": [f"MELD.Raw/{name}/{folder}" for name, folder in zip(ROWS, _SPLITS, strict=True)],
    "unpacked beside": [f"MELD.Raw/{folder}" for folder in _SPLITS],
    "doubled": [f"MELD.Raw/MELD.Raw/{folder}" for folder in _SPLITS],
    "renamed": ["train", "dev", "test"],
    "other words": ["clips/Train", "clips/validation", "clips/TEST"],
    "a split's name above": ["dev/MELD/train", "dev/MELD/dev", "dev/MELD/test"],
    "split first": ["train/videos", "val/videos", "test/videos"],
}


@pytest.mark.parametrize("folders", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("beside", [True, False], ids=["CSVs at the top", "CSVs inside"])
def test_clips_are_found_in_any_known_layout(tmp_path, folders, beside):
    places = dict(zip(ROWS, folders, strict=True))
    write_csvs(
        tmp_path, places=None if beside else {split: os.path.dirname(folder) for split, folder in places.items()}
    )
    for split, rows in ROWS.items():
        touch(tmp_path / places[split], *(f"dia{dialogue}_utt{utterance}.mp4" for dialogue, utterance, *_ in rows))

    found = read(tmp_path)

    assert len(_medias(found)) == 8
    for identity, media in _medias(found).items():
        split, _, name = identity.partition("_")
        assert media == f"{places[split]}/{name}.mp4"
    assert set(_kinds(found)) == {"count differs"}


def test_linked_folder_is_followed(tmp_path):
    write_csvs(tmp_path / "elsewhere")
    touch(tmp_path / "elsewhere" / "train", "dia0_utt0.mp4")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "MELD.Raw").symlink_to(tmp_path / "elsewhere")

    assert _medias(read(tmp_path / "raw"))["train_dia0_utt0"] == "MELD.Raw/train/dia0_utt0.mp4"


def test_links_to_a_folder_above_repeat_no_clip(tmp_path):
    write_csvs(tmp_path)
    touch(tmp_path / "train", "dia0_utt0.mp4")
    for name in ("MELD.Raw", "train/MELD.Raw"):
        (tmp_path / name).symlink_to(tmp_path)

    assert "clip found twice" not in _kinds(read(tmp_path))


def test_folders_that_link_to_each_other_are_walked_once_each_way(tmp_path):
    for one, other in (("train", "dev"), ("dev", "train")):
        touch(tmp_path / one, f"{one}.mp4")
        (tmp_path / one / other).symlink_to(tmp_path / other)
    assert len(list_files(tmp_path, "MELD")) == 4  # and not 80


def test_a_converted_clip_stands_for_one_that_is_not_there(tmp_path):
    """Sound alone, or another container. A file of the name that is no media, such as its features, is none."""
    train = write_csvs(tmp_path) / "train"
    train.mkdir()
    write_clip(train / "dia0_utt0.WAV", sound=tone(0.2))
    write_clip(train / "dia0_utt1.mkv", sound=tone(0.2))
    write_clip(train / "dia2_utt0.wav", sound=tone(0.2))
    touch(train, "dia2_utt0.mp4", "dia2_utt1.npy", "dia2_utt1.txt")
    found = read(tmp_path)
    medias = _medias(found)
    assert [medias[f"train_{name}"] for name in ("dia0_utt0", "dia0_utt1", "dia2_utt0")] == [
        "train/dia0_utt0.WAV",
        "train/dia0_utt1.mkv",
        "train/dia2_utt0.mp4",
    ]
    assert not any(media.endswith((".npy", ".txt")) for media in medias.values())
    [unused] = [problem.problem for problem in found.problems if problem.kind == "files not used"]
    assert ".wav 1" in unused and ".npy 1" in unused


@pytest.mark.parametrize(
    ("sound", "film"),
    [("audio/train/dia0_utt0.wav", "video/train/dia0_utt0.mkv"), ("train/dia0_utt0.aac", "train/dia0_utt0.mkv")],
)
def test_of_converted_clips_one_with_pictures_comes_first(tmp_path, sound, film):
    write_csvs(tmp_path)
    for name in (sound, film):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(tmp_path / name, sound=tone(0.2))
    assert _medias(read(tmp_path))["train_dia0_utt0"] == film


def test_converted_clips_in_folders_of_no_split_are_refused(tmp_path):
    write_csvs(tmp_path)
    (tmp_path / "train_audio").mkdir()
    write_clip(tmp_path / "train_audio/dia0_utt0.wav", sound=tone(0.2))
    with pytest.raises(InputError, match="lie in no folder that names a split"):
        read(tmp_path)


def test_features_beside_the_tables_make_no_clips(tmp_path):
    """An array whose bytes FFmpeg takes for a raw H.263 stream; as a video it would be one."""
    train = write_csvs(tmp_path) / "train"
    video = write_clip(tmp_path / "a.mkv", pictures=[np.zeros((48, 64), np.uint8)] * 4).read_bytes()
    train.mkdir()
    for name in ("dia0_utt0.npy", "dia0_utt1.pt", "dia2_utt0.pkl"):
        (train / name).write_bytes(video)
    (tmp_path / "a.mkv").unlink()
    assert not any(_medias(read(tmp_path)).values())


def test_corrected_test_clips_are_preferred(tmp_path):
    touch(
        write_csvs(tmp_path) / "output_repeated_splits_test",
        "dia7_utt0.mp4",
        "final_videos_testdia7_utt0.mp4",
        "dia7_utt1.mp4",
    )

    found = _medias(read(tmp_path))
    assert found["test_dia7_utt0"] == "output_repeated_splits_test/final_videos_testdia7_utt0.mp4"
    assert found["test_dia7_utt1"] == "output_repeated_splits_test/dia7_utt1.mp4"


def test_corrected_clips_are_the_test_splits_wherever_they_lie(tmp_path):
    touch(write_csvs(tmp_path) / "new", "final_videos_testdia7_utt0.mp4")

    assert _medias(read(tmp_path))["test_dia7_utt0"] == "new/final_videos_testdia7_utt0.mp4"


def test_missing_clip_is_expected_beside_the_others(tmp_path):
    touch(write_csvs(tmp_path), "a/train_splits/dia0_utt1.mp4")

    found = _medias(read(tmp_path))
    assert found["train_dia2_utt0"] == "a/train_splits/dia2_utt0.mp4"
    assert found["dev_dia0_utt1"] == "dev/dia0_utt1.mp4"


def test_files_that_are_no_clips_of_a_row_are_left_out_and_listed(tmp_path, capsys):
    """Clips without a row, of no known split, found twice, with another name; all are counted."""
    touch(
        write_csvs(tmp_path),
        *("train/dia0_utt0.mp4", "train/dia0_utt2.mp4", "train/dia99_utt0.mp4", "train/._dia0_utt1.mp4"),
        *("train/more/dia0_utt0.mp4", "other/dia0_utt3.mp4", "train/trailer.mp4", "train/._train_sent_emo.csv"),
    )

    found = read(tmp_path)

    problems = {problem.kind: problem.problem for problem in found.problems if problem.kind != "count differs"}
    assert problems == {
        "no CSV row": "no CSV row: 2 (dia0_utt2.mp4, dia99_utt0.mp4)",
        "clip found twice": "clip found twice: 1 (dia0_utt0.mp4)",
        "split unknown": "split unknown: 1 (dia0_utt3.mp4)",
        "name not MELD's": "name not MELD's: 1 (trailer.mp4)",
        "files not used": "files not used: 7 (.mp4 5, hidden 2)",
    }
    assert _medias(found)["train_dia0_utt0"] == "train/dia0_utt0.mp4"
    assert re.search(r"clips without a row +2 ", capsys.readouterr().err)


def test_same_csv_twice_is_read_once(tmp_path):
    write_csvs(tmp_path)
    write_csvs(tmp_path / "MELD.Raw")

    assert len(read(tmp_path).utterances) == 8


@needs_meld
def test_published_copy_is_preferred_to_another(tmp_path, published):
    write_csvs(tmp_path / "a")
    shutil.copytree(SHARED / "data" / "MELD", tmp_path / "b")

    assert read(tmp_path).utterances == published.utterances


# ---------------------------------------------------------------------------------------------------- faults


def test_unknown_adapter_is_reported_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"no adapter 'mled': .*there are: demo, .*meld, .* Did you mean 'meld'\?"):
        corpora.read(tmp_path, prepare_settings("meld", "mled"))


def test_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder. Put MELD there"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no train_sent_emo.csv anywhere below it (found 0 file(s): nothing)"),
        (("README.md", "MELD.Raw/dev_sent_emo.csv"), "(found 2 file(s): MELD.Raw/dev_sent_emo.csv, README.md)"),
    ],
)
def test_folder_without_the_csvs_is_one_clear_error(tmp_path, names, message):
    touch(tmp_path, *names)

    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path)


def test_csvs_of_one_name_that_differ_are_refused(tmp_path):
    write_csvs(tmp_path)
    write_csvs(tmp_path / "MELD.Raw", ROWS | {"dev": [(0, 0, "joy", "Other")]})

    with pytest.raises(InputError, match="2 files of the name dev_sent_emo.csv that differ: .*Leave one of them"):
        read(tmp_path)


def test_clips_without_a_split_are_refused_rather_than_forgotten(tmp_path):
    touch(write_csvs(tmp_path) / "clips", "dia0_utt0.mp4", "dia0_utt1.mp4")

    with pytest.raises(InputError, match="2 clips, such as clips/dia0_utt0.mp4, lie in no folder that names a split"):
        read(tmp_path)


GOOD = csv_text(ROWS["dev"])
TWICE = csv_text([*ROWS["dev"], (0, 1, "joy", "Again")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.replace("Emotion", "Feeling"), "lacks the column(s) Emotion; found Sr No., Utterance, Sp"),
        ("", "lacks the column(s) Utterance, Speaker, Emotion, Dialogue_ID, Utterance_ID; found an empty file"),
        (GOOD.splitlines()[0] + "\n", "has a header and no rows"),
        (GOOD.replace("anger", "rage"), "1 fault(s)\n  line 2: unknown emotion 'rage', expected one of"),
        (GOOD.replace("anger", ""), "line 2: unknown emotion ''"),
        (TWICE, "line 4: Dialogue_ID 0, Utterance_ID 1 is there twice"),
        (GOOD.replace(",0,1,1,2,", ",0,one,1,2,"), "line 3: Utterance_ID is 'one', expected a whole number"),
        (GOOD.replace(",0,1,1,2,", ",-1,1,1,2,"), "line 3: Dialogue_ID is '-1', expected a whole number"),
        (GOOD + "9,Bye,Joey\r\n", "line 4: more or fewer fields than the header has"),
        (GOOD.replace("What?", "What, now?"), "line 2: more or fewer fields than the header has"),
        (GOOD.replace("What?", '"What?'), "line 2: not readable as CSV: "),
        (
            re.sub(r'"(.:..:..),..."', r"\1", GOOD).replace("What?", '"What?').replace("Nothing.", 'Nothing."'),
            "line 3: a field holds line breaks and 10 separators, as if a quote is not closed",
        ),
        (GOOD.replace("Sr No.", "Speaker"), "line 1: the column 'Speaker' is there twice"),
        (GOOD.replace("anger", "rage").replace(",0,1,1,2,", ",0,x,1,2,"), "2 fault(s)\n  line 2: unknown emotion"),
    ],
)
def test_faulty_csv_is_refused_with_its_line(tmp_path, content, message):
    path = write_csvs(tmp_path) / CSVS["dev"]
    path.write_text(content, encoding="utf-8", newline="")

    with pytest.raises(InputError, match=re.escape(str(path)) + "(?s:.*)" + re.escape(message)):
        read(tmp_path)


@pytest.mark.parametrize(
    "save",
    [
        lambda text: text.encode("mac_roman"),
        lambda text: text.encode().decode("cp1252").encode(),
        lambda text: text.encode("gb18030"),
    ],
    ids=["MacRoman", "UTF-8 twice", "GBK"],
)
def test_csv_that_was_saved_in_another_encoding_is_refused_with_its_line(tmp_path, save):
    write_csvs(tmp_path, {split: [(0, 0, "joy", "I’m … fine"), (0, 1, "joy", "It’s late")] for split in ROWS})
    assert read(tmp_path).utterances[0].text == "I’m … fine"
    path = tmp_path / "dev_sent_emo.csv"
    path.write_bytes(save(path.read_text(encoding="utf-8")))
    with pytest.raises(InputError, match="dev_sent_emo.csv, line 2: .*another encoding"):
        read(tmp_path)


def test_byte_of_no_known_encoding_is_refused_with_its_line(tmp_path):
    path = write_csvs(tmp_path) / CSVS["dev"]
    path.write_bytes(GOOD.encode().replace(b"Nothing", b"Noth\x81ng"))

    with pytest.raises(InputError, match="dev_sent_emo.csv, line 3: the byte 0x81 is neither UTF-8 nor cp1252"):
        read(tmp_path)


def test_many_faults_are_counted_and_the_first_ten_shown(tmp_path):
    rows = [(0, number, "rage", "No") for number in range(13)]
    write_csvs(tmp_path, ROWS | {"test": rows})

    with pytest.raises(InputError, match="13 fault") as caught:
        read(tmp_path)
    assert str(caught.value).count("unknown emotion") == 10 and "… and 3 more" in str(caught.value)


def test_published_tables_add_up():
    """The totals that MELD states: 13,708 utterances."""
    for labels in meld.LABELS:
        published = meld.PUBLISHED["multiparty", labels]
        totals = [sum(counts.values()) - counts["dialogues"] for counts in published.values()]
        assert totals == [9989, 1109, 2610]


# ---------------------------------------------------------------------------------------------------- dyadic

DYADIC_HEADER = (
    "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Old_Dialogue_ID,Old_Utterance_ID,"
    "Season,Episode,StartTime,EndTime"
)
DYADIC = {
    "train": [
        "Hi.,Ross,neutral,neutral,0,0,5,0,1,1,00:00:01,00:00:02",
        "Go!,Monica,anger,negative,0,1,5,2,1,1,00:00:03,00:00:04",
        "Go!,Monica,anger,negative,1,0,5,2,1,1,00:00:03,00:00:04",
        "Yes…,Joey,joy,positive,1,1,5,3,1,1,0:00:03,0:00:04",
    ],
    "dev": ["Hm.,Joey,neutral,neutral,0,0,2,1,1,2,00:00:01,00:00:02"],
    "test": ["Oh!,Joey,surprise,positive,0,0,9,4,1,3,00:00:01,00:00:02"],
}
"""Cut out of the dialogues 5, 2 and 9; the turn 5/2 stands in two of them, 5/3 has its span and another label."""


def write_dyadic(folder, rows=DYADIC):
    for split, lines in rows.items():
        text = "\r\n".join([DYADIC_HEADER, *lines, ""])
        (folder / f"{split}_sent_emo_dya.csv").write_text(text, encoding="utf-8", newline="")
    return folder


def test_dyadic_rows_keep_the_clips_of_their_old_ids(tmp_path):
    touch(write_dyadic(tmp_path), "train/dia5_utt0.mp4", "train/dia5_utt2.mp4", "train/dia0_utt1.mp4")

    found = read(tmp_path, dialogues="dyadic")

    assert [(row.utterance_id, row.dialogue_id, row.position, row.media) for row in found.utterances] == [
        ("train_dya0_utt0", "train_0", 0, "train/dia5_utt0.mp4"),
        ("train_dya0_utt1", "train_0", 1, "train/dia5_utt2.mp4"),
        ("train_dya1_utt0", "train_1", 0, "train/dia5_utt2.mp4"),
        ("train_dya1_utt1", "train_1", 1, "train/dia5_utt3.mp4"),
        ("dev_dya0_utt0", "dev_0", 0, "dev/dia2_utt1.mp4"),
        ("test_dya0_utt0", "test_0", 0, "test/dia9_utt4.mp4"),
    ]
    problems = {problem.kind: problem.problem for problem in found.problems if problem.kind != "count differs"}
    assert problems == {
        "no CSV row": "no CSV row: 1 (dia0_utt1.mp4)",
        "files not used": "files not used: 1 (.mp4 1)",
        "same times": "same times: as train_dya1_utt1",  # 5/2 and 5/3, though written with another zero
    }
    assert {(note.action, note.what, note.count) for note in found.notes} == {
        ("dropped", "clips", 1),
        ("kept", "rows that repeat an utterance of another dialogue", 1),
        ("kept", "rows that share their time span with another of their split", 2),
    }


def test_dyadic_counts_are_compared_with_the_published_ones(tmp_path, capsys):
    found = read(write_dyadic(tmp_path), dialogues="dyadic")

    problems = [problem.problem for problem in found.problems if problem.kind == "count differs"]
    assert problems == [
        *("count differs: dialogues 2, published 2160", "count differs: utterances 4, published 12840"),
        *("count differs: dialogues 1, published 270", "count differs: utterances 1, published 1462"),
        *("count differs: dialogues 1, published 577", "count differs: utterances 1, published 3400"),
    ]
    assert found.protocol == "MELD dyadic, 7 emotions, own selection (train 4, dev 1, test 1 utterances)"
    assert "not the published MELD dyadic's counts" in " ".join(capsys.readouterr().err.split())


def test_dyadic_sentiments_are_read(tmp_path):
    found = read(write_dyadic(tmp_path), dialogues="dyadic", labels="sentiment")

    assert [row.emotion for row in found.utterances[:4]] == ["neutral", "negative", "negative", "positive"]


def test_variants_lie_side_by_side(tmp_path):
    write_dyadic(write_csvs(tmp_path))

    assert len(read(tmp_path).utterances) == 8 and len(read(tmp_path, dialogues="dyadic").utterances) == 6


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (DYADIC_HEADER.replace("Old_", "New_"), DYADIC["dev"][0], "lacks the column(s) Old_Dialogue_ID, Old_Utterance"),
        (DYADIC_HEADER, "Hm.,Joey,neutral,neutral,0,0,x,1,1,2,1,2", "line 2: Old_Dialogue_ID is 'x', expected a whole"),
        (DYADIC_HEADER, "Hm.,Joey,glee,neutral,0,0,2,1,1,2,1,2", "line 2: unknown emotion 'glee'"),
    ],
)
def test_faulty_dyadic_csv_is_refused_with_its_line(tmp_path, header, line, message):
    (write_dyadic(tmp_path) / "dev_sent_emo_dya.csv").write_text(f"{header}\n{line}\n")

    with pytest.raises(InputError, match="dev_sent_emo_dya.csv(?s:.*)" + re.escape(message)):
        read(tmp_path, dialogues="dyadic")


def test_unknown_sentiment_is_refused(tmp_path):
    write_csvs(tmp_path)
    text = csv_text(ROWS["dev"]).replace("anger,neutral", "anger,mixed")
    (tmp_path / CSVS["dev"]).write_text(text, encoding="utf-8", newline="")

    with pytest.raises(InputError, match="line 2: unknown sentiment 'mixed', expected one of neutral, positive, neg"):
        read(tmp_path, labels="sentiment")


def test_files_that_no_row_uses_are_one_problem(tmp_path):
    write_csvs(tmp_path)
    clips = (f"train/dia0_utt{n}.mp4" for n in (0, 1, 2))
    touch(tmp_path, *clips, "README.txt", ".DS_Store", "train/._a.mp4", "LICENSE")
    problems = corpora.read(tmp_path, prepare_settings("meld")).problems
    [found] = [problem for problem in problems if problem.kind == "files not used"]
    assert found.problem == "files not used: 5 (hidden 2, .mp4 1, .txt 1, LICENSE 1)"
    assert found.consequence == "not used"
