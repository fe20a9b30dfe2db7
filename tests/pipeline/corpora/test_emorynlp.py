"""The EmoryNLP adapter on miniatures in the published form (the corpus itself is not here)."""

import re

import pytest

from dferc.core.errors import InputError
from pipeline import corpora
from pipeline.corpora import emorynlp
from tests.helpers.clips import tone, write_clip
from tests.helpers.corpora import prepare_settings
from tests.helpers.meld_files import touch

HEADER = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time"
ROWS = {
    "train": [
        "\"Well, hi.\",['Monica Geller'],Joyful,2,3,1,10,00:00:01.100,00:00:02.200",
        "Ohhh.,\"['Monica Geller', 'Phoebe Buffay']\",Mad,2,10,1,10,00:00:03.100,00:00:04.200",
        "Stop it!,['Ross Geller'],Scared,1,1,1,2,00:00:01.100,00:00:02.200",
    ],
    "dev": ["Oooh!,['#ALL#'],Neutral,1,1,2,3,00:00:01.100,00:00:02.200"],
    "test": ["Hm.,['Joey Tribbiani'],Powerful,4,1,3,3,00:00:01.100,00:00:02.200"],
}
"""In train, two scenes: season 1, episode 10, scene 2 with a gap, and, later in the file, episode 2, scene 1."""


def write_csvs(folder, **changes):
    folder.mkdir(exist_ok=True)
    for split, rows in (ROWS | changes).items():
        (folder / f"emorynlp_{split}_final.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return folder


def read(raw):
    return corpora.read(raw, prepare_settings("emorynlp"))


def test_rows_become_scenes_in_order(tmp_path):
    found = read(write_csvs(tmp_path))

    assert [
        (row.utterance_id, row.dialogue_id, row.position, row.speaker, row.emotion, row.split)
        for row in found.utterances
    ] == [
        ("train_s1e2_sc1_utt1", "train_s1e2_sc1", 1, "Ross Geller", "scared", "train"),
        ("train_s1e10_sc2_utt3", "train_s1e10_sc2", 3, "Monica Geller", "joyful", "train"),
        ("train_s1e10_sc2_utt10", "train_s1e10_sc2", 10, "Monica Geller, Phoebe Buffay", "mad", "train"),
        ("dev_s2e3_sc1_utt1", "dev_s2e3_sc1", 1, "#ALL#", "neutral", "validation"),
        ("test_s3e3_sc4_utt1", "test_s3e3_sc4", 1, "Joey Tribbiani", "powerful", "test"),
    ]
    assert found.utterances[1].text == "Well, hi." and not any(row.media for row in found.utterances)
    assert found.classes == ("joyful", "mad", "peaceful", "neutral", "sad", "powerful", "scared")
    assert [(note.action, note.count) for note in found.notes] == [("merged", 1)]


def test_clips_are_found_by_name_and_expected_in_their_split(tmp_path):
    touch(
        write_csvs(tmp_path),
        *("emorynlp_train_splits/sea1_ep10_sc2_utt3.mp4", "elsewhere/more/sea1_ep10_sc2_utt3.mp4"),
        *("clips/sea3_ep3_sc4_utt1.mp4", "clips/sea9_ep1_sc1_utt1.mp4", "clips/._sea2_ep3_sc1_utt1.mp4"),
    )

    found = read(tmp_path)

    assert [row.media for row in found.utterances] == [
        "emorynlp_train_splits/sea1_ep2_sc1_utt1.mp4",
        "emorynlp_train_splits/sea1_ep10_sc2_utt3.mp4",
        "emorynlp_train_splits/sea1_ep10_sc2_utt10.mp4",
        "emorynlp_dev_splits/sea2_ep3_sc1_utt1.mp4",
        "clips/sea3_ep3_sc4_utt1.mp4",
    ]
    problems = {problem.kind: problem.problem for problem in found.problems if problem.kind != "count differs"}
    assert problems == {
        "clip found twice": "clip found twice: 1 (sea1_ep10_sc2_utt3.mp4)",
        "no CSV row": "no CSV row: 1 (sea9_ep1_sc1_utt1.mp4)",
        "files not used": "files not used: 3 (.mp4 2, hidden 1)",
    }
    assert ("dropped", "clips", 1) in {(note.action, note.what, note.count) for note in found.notes}


def test_a_converted_clip_stands_for_one_that_is_not_there(tmp_path):
    folder = write_csvs(tmp_path) / "clips"
    touch(folder, "sea1_ep10_sc2_utt3.mp4", "sea1_ep10_sc2_utt10.npy")
    for name in ("sea1_ep2_sc1_utt1", "sea1_ep10_sc2_utt3"):
        write_clip(folder / f"{name}.wav", sound=tone(0.2))
    medias = [row.media for row in read(tmp_path).utterances]
    assert medias[:2] == ["clips/sea1_ep2_sc1_utt1.wav", "clips/sea1_ep10_sc2_utt3.mp4"]
    assert medias[2] == "emorynlp_train_splits/sea1_ep10_sc2_utt10.mp4"


def test_counts_are_compared_with_the_published_ones(tmp_path, capsys):
    found = read(write_csvs(tmp_path))

    problems = [problem.problem for problem in found.problems]
    # 9 counts of train and of test differ (of test, none is 0), of dev the two that were published.
    assert len(problems) == 20 and "count differs: dialogues 2, published 659" in problems
    assert (
        "count differs: utterances 1, published 954" in problems
        and "count differs: scared 0, published 116" in problems
    )
    assert found.protocol == "EmoryNLP, 7 emotions, own selection (train 3, dev 1, test 1 utterances)"
    printed = " ".join(capsys.readouterr().err.split())
    assert "1 / 941" in printed and "not the published EmoryNLP's counts" in printed and "text-only" in printed


def test_matching_counts_are_the_published_splits(tmp_path, monkeypatch):
    counts = {"train": {"dialogues": 2, "mad": 1}, "dev": {"utterances": 1}, "test": {"powerful": 1}}
    monkeypatch.setattr(emorynlp, "PUBLISHED", counts)

    found = read(write_csvs(tmp_path))
    assert found.protocol == "EmoryNLP, 7 emotions, published splits" and found.problems == []


def test_published_counts_add_up():
    """7551 and 984 utterances over seven classes; of dev only the totals are known."""
    for split in ("train", "test"):
        published = emorynlp.PUBLISHED[split]
        assert sum(published[name] for name in emorynlp.CLASSES) == published["utterances"]


def test_empty_text_is_kept_and_listed(tmp_path):
    found = read(write_csvs(tmp_path, dev=[",['Ross Geller'],Sad,1,1,2,3,0,0"]))

    assert [problem.where for problem in found.problems if problem.kind == "empty transcript"] == ["dev_s2e3_sc1_utt1"]


@pytest.mark.parametrize(
    "written",
    [
        *("Ross Geller", "[]", "['Ross', 3]", "('Ross',)", "{'Ross'}", "['Ross'", "[['Ross']]", "None", ""),
        *("[" * 500, "__import__('os').system('touch /tmp/owned')", "['a' + 'b']", f"['{'x' * 2000}']"),
    ],
)
def test_speaker_that_is_no_list_of_names_is_refused(tmp_path, written):
    quoted = '"' + written.replace('"', '""') + '"'
    write_csvs(tmp_path, dev=[ROWS["dev"][0], f"Hi.,{quoted},Sad,1,2,2,3,0,0"])

    with pytest.raises(
        InputError, match=r"emorynlp_dev_final.csv: 1 fault\(s\)\s+line 3: Speaker is .*expected a list"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Hi.,['Ross'],Angry,1,2,2,3,0,0", "line 3: unknown emotion 'Angry', expected one of joyful, mad"),
        ("Hi.,['Ross'],Sad,one,2,2,3,0,0", "line 3: Scene_ID is 'one', expected a whole number"),
        ("Hi.,['Ross'],Sad,1,1,2,3,0,0", "line 3: Season 2, Episode 3, Scene_ID 1, Utterance_ID 1 is there twice"),
        ("Hi.,['Ross'],Sad,1,2", "line 3: more or fewer fields than the header has"),
    ],
)
def test_faulty_row_is_refused_with_its_line(tmp_path, row, message):
    write_csvs(tmp_path, dev=[ROWS["dev"][0], row])

    with pytest.raises(InputError, match="emorynlp_dev_final.csv(?s:.*)" + re.escape(message)):
        read(tmp_path)


def test_missing_csv_and_folder_are_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder. Put EmoryNLP there .data/raw/emorynlp/README.md"):
        read(tmp_path / "nowhere")
    (write_csvs(tmp_path / "raw") / "emorynlp_dev_final.csv").unlink()
    with pytest.raises(InputError, match="no emorynlp_dev_final.csv anywhere below it .*EmoryNLP's three CSVs are"):
        read(tmp_path / "raw")


def test_files_that_no_row_uses_are_one_problem(tmp_path):
    write_csvs(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    problems = corpora.read(tmp_path, prepare_settings("emorynlp")).problems
    assert [found.problem for found in problems if found.kind == "files not used"] == ["files not used: 1 (.txt 1)"]
