"""The IEMOCAP adapter on a miniature of the full release: every protocol, split, odd file and fault."""

import hashlib
import re

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.core.errors import InputError
from dferc.store.hdf5 import read_utterances
from pipeline import corpora, prepare
from pipeline.corpora.iemocap import protocol as _iemocap_protocol
from pipeline.corpora.iemocap.protocol import COSMIC_VALIDATION, PROMOTED_SHA256, PROTOCOLS, hash_of, is_promoted
from pipeline.corpora.iemocap.release import Turn, read_release
from pipeline.faces import speaker_face
from pipeline.rows.utterances import Region, read_utterances_csv
from tests.helpers.clips import SHARED, read_audio, tone, write_clip
from tests.helpers.corpora import REPOSITORY, prepare_settings, read_problems
from tests.helpers.face_models import visual_settings
from tests.helpers.iemocap_files import DIALOGUES, FOR, label_line, write_release, write_videos, write_wavs


def read(raw, **options):
    return corpora.read(raw, prepare_settings("iemocap", **options))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Write the miniature's labels and transcripts."""
    folder = tmp_path_factory.mktemp("iemocap")
    write_release(folder)
    return folder


# ---------------------------------------------------------------------------------------------------- protocols

SIX = """
    Ses01F_impro03 F000 0 neutral, M000 1 happy, F002 4 happy, F003 6 happy, M003 7 happy
    Ses01M_impro01 F000 0 angry
    Ses02F_impro02 M000 0 excited, F000 1 frustrated
    Ses02M_script01_1 F000 0 sad, F001 2 neutral
    Ses03M_impro05a F000 0 happy
    Ses03M_impro08a F000 0 sad
    Ses03M_impro08b M000 0 frustrated, F000 1 excited
    Ses04F_impro07 F000 0 neutral
    Ses04M_script03_2 M000 0 angry
    Ses05F_impro07 F000 0 sad, M000 1 excited
    Ses05M_script01_1b M000 0 neutral, F000 1 frustrated
"""
"""Rows of 6way-7433 without context turns: turn, position by time among all turns of the dialogue, class."""

STRICT = SIX.replace("M000 1 happy, F002 4 happy, F003 6 happy, ", "")
FOUR = """
    Ses01F_impro03 F000 0 neutral, M003 7 happy
    Ses01M_impro01 F000 0 angry
    Ses02F_impro02 M000 0 happy
    Ses02M_script01_1 F000 0 sad, F001 2 neutral
    Ses03M_impro05a F000 0 happy
    Ses03M_impro08a F000 0 sad
    Ses03M_impro08b F000 1 happy
    Ses04F_impro07 F000 0 neutral
    Ses04M_script03_2 M000 0 angry
    Ses05F_impro07 F000 0 sad, M000 1 happy
    Ses05M_script01_1b M000 0 neutral
"""
ROWS = {"6way-7433": SIX, "6way-7380": STRICT, "4way-5531": FOUR}

CONTEXT = """
    Ses01F_impro03 F000 0, M000 1, F001 2, M001 3, F002 4, M002 5, F003 6, M003 7
    Ses01M_impro01 F000 0, M000 1
    Ses02F_impro02 M000 0, F000 1
    Ses02M_script01_1 F000 0, M000 1, F001 2
    Ses03M_impro05a F000 0, M000 1
    Ses03M_impro05b M000 0
    Ses03M_impro08a F000 0
    Ses03M_impro08b M000 0, F000 1
    Ses04F_impro07 F000 0
    Ses04M_script03_2 M000 0, F000 1
    Ses05F_impro07 F000 0, M000 1, F001 2
    Ses05M_script01_1b M000 0, F000 1
"""
"""All 29 turns."""


def _expected(table):
    """(turn id, dialogue, position, class) of each row of a table above."""
    rows = []
    for line in table.split("\n"):
        dialogue, _, turns = line.strip().partition(" ")
        for turn in filter(None, turns.split(", ")):
            name, position, emotion = (*turn.split(), "")[:3]
            rows.append((f"{dialogue}_{name}", dialogue, int(position), emotion))
    return rows


def _found(corpus):
    return [(row.utterance_id, row.dialogue_id, row.position, row.emotion) for row in corpus.utterances]


@pytest.mark.parametrize("protocol", ROWS)
def test_protocol_gives_exactly_its_rows(raw, protocol):
    assert _found(read(raw, protocol=protocol)) == _expected(ROWS[protocol])


def test_votes_are_shares_of_the_outside_raters_and_kept_only_where_asked_for(raw):
    assert read(raw).votes == {}
    found = read(raw, votes=True)
    assert found.classes == ("happy", "sad", "neutral", "angry", "excited", "frustrated")
    first = {"Ses01F_impro03_F000": [0, 0, 1, 0, 0, 0], "Ses01F_impro03_M000": [2 / 3, 0, 1 / 3, 0, 0, 0]}
    # E2 has two labels of half a vote each, as E3; the actors' own do not count
    first["Ses01F_impro03_F002"] = [1 / 3, 0, 1.5 / 3, 0, 0.5 / 3, 0]
    for turn, shares in first.items():
        assert found.votes[turn] == pytest.approx(shares)
    assert "Ses04M_script03_2_F000" not in found.votes  # nobody voted
    merged = read(raw, votes=True, protocol="4way-5531").votes["Ses01F_impro03_F002"]
    assert merged == pytest.approx([1.5 / 3, 0, 1.5 / 3, 0])  # excited counts as happy


@pytest.mark.parametrize("protocol", ROWS)
def test_context_turns_are_kept_in_their_places_without_a_label(raw, protocol):
    labels = {name: emotion for name, *_, emotion in _expected(ROWS[protocol])}
    expected = [(*row[:3], labels.get(row[0], "")) for row in _expected(CONTEXT)]

    assert len(expected) == 29
    assert _found(read(raw, protocol=protocol, context_turns="keep")) == expected


def test_classes_have_the_order_of_the_fields_label_ids(raw):
    six = ("happy", "sad", "neutral", "angry", "excited", "frustrated")

    assert [read(raw, protocol=name).classes for name in ROWS] == [six, six, six[:4]]


def test_row_carries_speaker_and_transcript(raw):
    rows = {row.utterance_id: row for row in read(raw).utterances}

    assert {rows[f"Ses03M_impro08b_{turn}"].speaker for turn in ("M000", "F000")} == {"Ses03M", "Ses03F"}
    assert rows["Ses05M_script01_1b_M000"].text == "Spoken in M000."


def test_corpus_tells_its_protocol_and_claims_speaker_independence(raw):
    found = read(raw, split="loso-3", validation="random-10pct", split_seed=1, context_turns="keep")

    assert found.protocol == (
        "IEMOCAP 6way-7433, split loso-3, validation random-10pct (seed 1), context_turns keep, "
        "own selection (20 labelled turns)"
    )
    assert read(raw).protocol.startswith("IEMOCAP 6way-7433, split session5, validation cosmic, context_turns drop")
    assert found.speaker_independent


# ---------------------------------------------------------------------------------------------------- promotion


@pytest.mark.parametrize(
    ("external", "own", "promoted"),
    [
        (["Happiness", "Happiness", "Neutral"], ["Excited"], True),
        (["Neutral", "Neutral", "Happiness"], ["Anger"], False),
        (["Happiness", "Happiness", "Neutral"], ["Neutral"], False),  # tied
        (["Neutral; Happiness", "Excited; Happiness", "Neutral"], ["Happiness"], True),  # every external label: 3, 2, 1
        (["Happiness", "Excited", "Neutral"], ["Anger; Happiness"], False),  # of one's own the first: all 1
        (["Happiness", "Neutral"], ["Happiness; Neutral"], True),  # likewise: 2 to 1
        (["Frustration", "Frustration"], [], False),  # only happy is promoted
        (["Happiness; Happiness"], ["Neutral"], True),
        ([], ["Happiness"], True),
        ([], [], False),
    ],
)
def test_undecided_turn_is_promoted_where_happiness_alone_is_ahead(external, own, promoted):
    votes = {"external": external, "own": own}
    split = {kind: tuple(tuple(given.split("; ")) for given in labels) for kind, labels in votes.items()}
    place = {"turn_id": "t", "dialogue": "Ses01F_impro01", "start_s": 0, "end_s": 1}

    assert is_promoted(Turn(**place, code="xxx", **split)) == promoted
    assert not is_promoted(Turn(**place, code="sad", text="", **split))


def test_votes_are_read_to_the_end_of_the_turn(raw):
    turns = {turn.turn_id: turn for turn in read_release(raw).all_turns}

    assert turns["Ses01F_impro03_F002"].external == [("Neutral", "Happiness"), ("Excited", "Happiness"), ("Neutral",)]
    assert turns["Ses01F_impro03_F002"].own == [("Happiness",)]
    assert turns["Ses04M_script03_2_F000"].external == turns["Ses04M_script03_2_F000"].own == []


def test_promoted_turns_are_listed_with_their_votes(raw):
    problems = {problem.where: problem.problem for problem in read(raw).problems if problem.kind == "promoted"}

    assert problems == {
        "Ses01F_impro03_M000": "promoted: undecided, Happiness 2, Neutral 1, Excited 1",
        "Ses01F_impro03_F002": "promoted: undecided, Happiness 3, Neutral 2, Excited 1",
        "Ses01F_impro03_F003": "promoted: undecided, Happiness 2, Neutral 1",
    }


def _kinds(corpus):
    return {problem.kind for problem in corpus.problems}


def test_other_promoted_turns_than_the_fields_are_reported_and_kept(raw, monkeypatch):
    assert "promoted turns differ" in _kinds(read(raw))
    assert "promoted turns differ" not in _kinds(read(raw, protocol="6way-7380"))
    ids = "Ses01F_impro03_F002\nSes01F_impro03_F003\nSes01F_impro03_M000"
    monkeypatch.setattr(_iemocap_protocol, "PROMOTED_SHA256", hashlib.sha256(ids.encode()).hexdigest())
    assert "promoted turns differ" not in _kinds(read(raw))


@pytest.mark.skipif(not (SHARED / "FIELD.md").exists(), reason="no $DFERC_SHARED/FIELD.md")
def test_hash_is_that_of_the_53_documented_ids(tmp_path):
    """A release whose undecided turns are the 53 and some others passes the self-check."""
    listed = re.search(r"`(Ses01F_impro03: F007 .*?)`", (SHARED / "FIELD.md").read_text(encoding="utf-8"))[1]
    by_dialogue = {name: turns.split() for name, turns in (part.split(": ") for part in listed.split("; "))}
    ids = [f"{name}_{turn}" for name, turns in by_dialogue.items() for turn in turns]
    assert len(ids) == 53 and hash_of(ids) == hash_of(reversed(ids)) == PROMOTED_SHA256

    promoted = {
        name: [(turn, float(place), place + 1.0, "xxx", FOR) for place, turn in enumerate(turns)]
        for name, turns in by_dialogue.items()
    }
    write_release(tmp_path, DIALOGUES | promoted | {"Ses01F_impro03": promoted["Ses01F_impro03"]})
    assert "promoted turns differ" not in _kinds(read(tmp_path))


# ---------------------------------------------------------------------------------------------------- splits


def _split(corpus, name):
    return list(dict.fromkeys(row.dialogue_id for row in corpus.utterances if row.split == name))


def test_session5_with_cosmics_validation(raw):
    found = read(raw, context_turns="keep")

    assert _split(found, "test") == ["Ses05F_impro07", "Ses05M_script01_1b"]
    assert _split(found, "validation") == ["Ses01M_impro01", "Ses02F_impro02", "Ses03M_impro08a", "Ses04F_impro07"]
    assert len(_split(found, "train")) == 6


DRAWN = {
    ("session5", 0): "Ses03M_impro05a",
    ("session5", 1): "Ses03M_impro08a",
    ("loso-1", 0): "Ses05F_impro07",
    ("loso-2", 1): "Ses03M_impro08a",
    ("loso-3", 1): "Ses02F_impro02",
    ("loso-4", 0): "Ses05F_impro07",
    ("loso-5", 2): "Ses01M_impro01",
}
"""The training dialogue whose `sha256("<seed> <dialogue>")` is lowest: a tenth of 8 or 10 is one."""


@pytest.mark.parametrize(("asked", "drawn"), DRAWN.items())
def test_random_tenth_is_drawn_by_dialogue_from_the_training_sessions(raw, asked, drawn):
    split, seed = asked
    found = read(raw, split=split, validation="random-10pct", split_seed=seed, context_turns="keep")

    assert _split(found, "validation") == [drawn]
    assert {name[4] for name in _split(found, "test")} == {split[-1]}
    assert {name[4] for name in _split(found, "train")} == set("12345") - {split[-1]}
    assert sorted(sum((_split(found, split) for split in ("train", "validation", "test")), [])) == sorted(DIALOGUES)


def test_folds_of_leave_one_session_out_test_every_dialogue_once(raw):
    folds = [read(raw, split=f"loso-{number}", validation="random-10pct", split_seed=1) for number in range(1, 6)]
    tested = [name for fold in folds for name in _split(fold, "test")]

    assert sorted(tested) == sorted(set(DIALOGUES) - {"Ses03M_impro05b"})  # which has no labelled turn


def test_published_counts_agree_among_themselves():
    """What is written down of the protocols: classes and sessions sum to the name's number."""
    for name, protocol in PROTOCOLS.items():
        assert sum(protocol.per_class) == sum(protocol.per_session) == int(name[-4:])
        assert len(protocol.per_class) == len(protocol.names)
    assert len(set(COSMIC_VALIDATION)) == 12 and not [name for name in COSMIC_VALIDATION if name[4] == "5"]


def test_counts_that_are_published_are_not_reported(raw, monkeypatch, capsys):
    protocol = PROTOCOLS["6way-7433"]
    changes = {"per_class": (5, 3, 4, 2, 3, 3), "per_session": (6, 4, 4, 2, 4)}
    same = _iemocap_protocol.Protocol(classes=protocol.classes, promotes=True, **changes)
    monkeypatch.setitem(PROTOCOLS, "6way-7433", same)

    found = read(raw)

    assert "count differs" not in _kinds(found) and "own selection" not in found.protocol
    assert "/" not in capsys.readouterr().err.partition("session 1")[2]


# ---------------------------------------------------------------------------------------------------- what is reported


def test_notes_tell_what_was_dropped_merged_and_promoted(raw):
    four = {(note.action, note.what, note.count) for note in read(raw, protocol="4way-5531").notes}
    keep = {(note.action, note.what): note.count for note in read(raw, context_turns="keep").notes}

    assert four == {
        ("dropped", "turns labelled dis", 1),
        ("dropped", "turns labelled fea", 1),
        ("dropped", "turns labelled fru", 3),
        ("dropped", "turns labelled oth", 1),
        ("dropped", "turns labelled sur", 1),
        ("dropped", "turns labelled xxx", 8),
        ("merged", "excited turns into happy", 3),
        ("dropped", "overlap lines (_MXX, _FXX)", 24),
    }
    assert keep[("promoted", "undecided turns (xxx) to happy")] == 3
    assert keep[("kept", "turns labelled xxx")] == 5 and ("dropped", "turns labelled xxx") not in keep


def test_turns_outside_the_classes_are_problems_by_label(raw):
    problems = {problem.problem: problem.consequence for problem in read(raw).problems}

    assert problems["outside the classes: xxx, 5 turn(s)"] == "dropped (context_turns: drop)"
    assert problems["overlap lines: 24 transcript lines of both at once (_MXX, _FXX)"] == "left out: nobody's turn"


def test_release_of_the_miniature_has_nothing_odd(raw):
    assert read_release(raw).oddities == []


def test_lines_and_files_that_are_not_understood_are_problems(tmp_path):
    dialog = write_release(tmp_path) / "Session1" / "dialog"
    with open(dialog / "transcriptions" / "Ses01M_impro01.txt", "a") as file:
        file.write("M: [BREATHING]\nSes01M_impro01_F001 [003.0000-004.0000]: Unlabelled.\n")
    with open(dialog / "EmoEvaluation" / "Ses01M_impro01.txt", "a") as file:
        file.write("checked by two\n")
    for name in ("EmoEvaluation/notes.txt", "transcriptions/Ses01F_impro09.txt"):
        (dialog / name).write_text("a note\n")
    (dialog / "EmoEvaluation" / "Ses01F_impro08.txt").write_text("% nothing\n")
    (dialog / "transcriptions" / "Ses01F_impro08.txt").write_text("")

    problems = {problem.where.rpartition("dialog/")[2]: problem.problem for problem in read(tmp_path).problems}
    lines = {problem.problem for problem in read(tmp_path).problems}

    assert problems["EmoEvaluation/notes.txt"] == "no dialogue of session 1: ignored"
    assert problems["transcriptions/Ses01F_impro09.txt"] == "transcript without labels: ignored"
    assert problems["EmoEvaluation/Ses01F_impro08.txt"] == "no label lines: ignored"
    assert "no label: Ses01M_impro01_F001, left out" in lines
    assert "line not understood: line 6, 'M: [BREATHING]', ignored" in lines
    assert "line not understood: line 16, 'checked by two', ignored" in lines


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_transcripts_of_windows_and_of_old_macs_are_read(tmp_path, end):
    path = write_release(tmp_path) / "Session1" / "dialog" / "transcriptions" / "Ses01M_impro01.txt"
    lines = path.read_text().splitlines()
    before = [(row.utterance_id, row.text) for row in read(tmp_path).utterances]
    path.write_bytes(end.join(line + " It\u2019s me\u2026" for line in lines).encode("cp1252"))
    after = [(row.utterance_id, row.text) for row in read(tmp_path).utterances]
    added = {True: " It\u2019s me\u2026", False: ""}
    assert after == [(name, text + added[name.startswith("Ses01M_impro01")]) for name, text in before]


def test_turn_without_a_transcript_is_kept_with_an_empty_text(tmp_path):
    dialog = write_release(tmp_path) / "Session4" / "dialog"
    (dialog / "transcriptions" / "Ses04M_script03_2.txt").write_text("")
    found = read(tmp_path)

    assert next(row for row in found.utterances if row.utterance_id == "Ses04M_script03_2_M000").text == ""
    assert ("Ses04M_script03_2_M000", "empty transcript") in {
        (problem.where, problem.problem) for problem in found.problems
    }


# ---------------------------------------------------------------------------------------------------- media


def test_labels_alone_make_a_text_only_corpus(raw, capsys):
    assert not any(row.media or row.sound or row.end_s or row.region != Region() for row in read(raw).utterances)
    assert "a text-only corpus" in capsys.readouterr().err


def test_wavs_alone_make_a_corpus_without_pictures(tmp_path):
    write_wavs(write_release(tmp_path), {"Ses01M_impro01": DIALOGUES["Ses01M_impro01"]})
    rows = {row.utterance_id: row for row in read(tmp_path).utterances}

    folder = "IEMOCAP_full_release/Session5/sentences/wav/Ses05M_script01_1b"
    assert rows["Ses05M_script01_1b_M000"].heard == (f"{folder}/Ses05M_script01_1b_M000.wav", 0.0, 0.0)
    assert not any(row.media for row in rows.values())


def test_converted_media_stand_for_what_is_not_there(tmp_path):
    """Videos that a browser plays, sound that was compressed without loss; the released files come first."""
    release = write_release(tmp_path)
    write_wavs(release, {"Ses01M_impro01": DIALOGUES["Ses01M_impro01"]})
    sounds = release / "Session1" / "sentences" / "wav" / "Ses01M_impro01"
    (sounds / "Ses01M_impro01_F000.wav").unlink()
    for name in ("Ses01M_impro01_F000.flac", "Ses01M_impro01_M000.flac"):
        write_clip(sounds / name, sound=tone(0.2), sound_codec="flac")
    write_videos(release, ["Ses01F_impro03"], seconds=1)
    videos = release / "Session1" / "dialog" / "avi" / "DivX"
    write_clip(videos / "Ses01M_impro01.mp4", pictures=[np.zeros((48, 72), np.uint8)] * 5)
    (videos / "Ses01M_impro01.txt").write_text("notes")
    rows = {row.utterance_id: row for row in read(tmp_path, context_turns="keep").utterances}
    assert rows["Ses01M_impro01_F000"].sound.endswith("/Ses01M_impro01_F000.flac")
    assert rows["Ses01M_impro01_M000"].sound.endswith("/Ses01M_impro01_M000.wav")
    assert rows["Ses01M_impro01_F000"].media.endswith("/DivX/Ses01M_impro01.mp4")
    assert rows["Ses01F_impro03_F000"].media.endswith("/DivX/Ses01F_impro03.avi")


def test_macos_copies_alone_are_no_media(tmp_path):
    folder = write_release(tmp_path) / "Session1" / "sentences" / "wav" / "Ses01M_impro01"
    folder.mkdir(parents=True)
    (folder / "._Ses01M_impro01_F000.wav").touch()

    assert not any(row.sound for row in read(tmp_path).utterances)


@pytest.mark.parametrize(
    ("turn", "begin", "span"),
    [
        ("Ses01F_impro03_F000", 0.0, (1.0, 2.0)),
        ("Ses01F_impro03_M000", 0.5, (1.5, 3.5)),
        ("Ses04M_script03_2_M000", 0.0, (0.5, 1.0)),
    ],
)
def test_speaker_is_left_where_the_dialogue_has_the_speakers_letter(tmp_path, turn, begin, span):
    """720x480: within either half of 360, x 52 to 308 and y 112 to 368."""
    write_videos(write_release(tmp_path), ["Ses01F_impro03"], seconds=1)
    row = next(row for row in read(tmp_path).utterances if row.utterance_id == turn)

    assert [round(edge * 720) for edge in (row.region.left, row.region.right)] == [720 * begin + 52, 720 * begin + 308]
    assert [round(edge * 480) for edge in (row.region.top, row.region.bottom)] == [112, 368]
    assert row.media == f"IEMOCAP_full_release/Session{turn[4]}/dialog/avi/DivX/{row.dialogue_id}.avi"
    assert (row.start_s, row.end_s) == span


def test_crop_is_a_share_of_the_half(tmp_path):
    write_videos(write_release(tmp_path), ["Ses01F_impro03"], seconds=1)
    rows = {row.utterance_id: row for row in read(tmp_path, crop=(0.25, 0.0, 0.75, 0.5)).utterances}

    assert rows["Ses01F_impro03_M000"].region == (0.625, 0.0, 0.875, 0.5)


@pytest.mark.parametrize("root", [".", "deep/er/IEMOCAP_full_release"])
def test_sessions_are_found_wherever_they_lie(tmp_path, root, raw):
    write_release(tmp_path, root=root)

    assert _found(read(tmp_path)) == _found(read(raw))


# ---------------------------------------------------------------------------------------------------- bad input


def _refused(raw, *parts, **options):
    with pytest.raises(InputError) as refused:
        read(raw, **options)
    for part in parts:
        assert part in str(refused.value), str(refused.value)


def test_links_to_a_folder_above_are_no_second_sessions(tmp_path):
    (write_release(tmp_path) / "IEMOCAP_full_release").symlink_to(".")

    assert set(read_release(tmp_path).sessions) == {1, 2, 3, 4, 5}


def test_missing_folder_and_missing_sessions_are_refused(tmp_path):
    _refused(tmp_path / "none", "none: no such folder. Put IEMOCAP there (data/raw/iemocap/README.md")
    (tmp_path / "readme.txt").touch()
    _refused(tmp_path, "no folder Session1 to Session5 with a folder `dialog` below it (found readme.txt)")


def test_release_without_the_session_that_is_tested_is_refused(tmp_path):
    write_release(tmp_path, {name: lines for name, lines in DIALOGUES.items() if name[4] != "5"})

    _refused(tmp_path, "no labelled turn for test with split session5 and validation cosmic: found session(s) 1, 2, 3")
    found = read(tmp_path, split="loso-2", validation="random-10pct")
    assert ("Session5", "session missing") in {(problem.where, problem.problem) for problem in found.problems}


def test_release_without_the_validation_dialogues_is_refused_or_reported(tmp_path):
    less = {name: lines for name, lines in DIALOGUES.items() if name not in COSMIC_VALIDATION}
    write_release(tmp_path / "none", less)
    _refused(tmp_path / "none", "no labelled turn for validation with split session5 and validation cosmic")

    write_release(tmp_path / "some", less | {"Ses01M_impro01": DIALOGUES["Ses01M_impro01"]})
    missing = {
        problem.where for problem in read(tmp_path / "some").problems if problem.kind == "validation dialogue missing"
    }
    assert missing == set(COSMIC_VALIDATION) - {"Ses01M_impro01"}


def test_session_found_twice_is_refused(tmp_path):
    for root in ("one", "two"):
        write_release(tmp_path, {"Ses01M_impro01": DIALOGUES["Ses01M_impro01"]}, root=root)

    _refused(tmp_path, "sessions found twice (Session1: one/Session1, two/Session1). Leave one of each.")


def test_labels_without_transcripts_are_refused_all_at_once(tmp_path):
    release = write_release(tmp_path, odd=False)
    for name in ("Ses02F_impro02", "Ses05F_impro07"):
        (release / f"Session{name[4]}" / "dialog" / "transcriptions" / f"{name}.txt").unlink()

    _refused(
        tmp_path,
        "2 fault(s)",
        "Session2/dialog/EmoEvaluation/Ses02F_impro02.txt: the dialogue has no transcript; expected "
        "IEMOCAP_full_release/Session2/dialog/transcriptions/Ses02F_impro02.txt",
        "Ses05F_impro07.txt: the dialogue has no transcript",
    )


def test_session_without_label_files_is_refused(tmp_path):
    release = write_release(tmp_path)
    (release / "Session1" / "dialog" / "EmoEvaluation").rename(release / "elsewhere")

    _refused(tmp_path, "Session1/dialog/EmoEvaluation: no label files; expected one <dialogue>.txt per dialogue")


GOOD = label_line("Ses04F_impro07", ("M000", 2.0, 3.0, "sad", "E2 Sadness")).split("\n")[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("2.0000 - ", ""), "line 10: '[3.0000]\\tSes04F"),
        (GOOD.replace("\tsad\t", "\t"), "expected `[start - end]<tab>turn<tab>code<tab>[v, a, d]`"),
        (GOOD.replace("sad", "sda"), "Ses04F_impro07_M000: unknown emotion code 'sda'; expected hap, sad,"),
        (GOOD.replace("sad", "sda"), "xxx. Did you mean 'sad'?"),
        (GOOD.replace("3.0000", "three"), "line 10: '[2.0000 - three]"),
        (
            GOOD.replace("impro07", "impro08"),
            "'Ses04F_impro08_M000' is no turn of Ses04F_impro07; expected Ses04F_impro07",
        ),
        (GOOD.replace("M000", "X000"), "'Ses04F_impro07_X000' is no turn of Ses04F_impro07"),
        (GOOD.replace("M000", "F000"), "Ses04F_impro07_F000 is labelled twice"),
        ("C-E2 Neutral;\t()", "line 10: 'C-E2 Neutral;\\t()'; expected"),
    ],
)
def test_malformed_label_line_is_refused_with_file_and_line(tmp_path, line, message):
    path = write_release(tmp_path) / "Session4" / "dialog" / "EmoEvaluation" / "Ses04F_impro07.txt"
    with open(path, "a") as file:
        file.write(f"\n{line}\n")

    _refused(tmp_path, "Session4/dialog/EmoEvaluation/Ses04F_impro07.txt", message)


def test_turn_transcribed_twice_is_refused(tmp_path):
    path = write_release(tmp_path) / "Session4" / "dialog" / "transcriptions" / "Ses04F_impro07.txt"
    with open(path, "a") as file:
        file.write("Ses04F_impro07_F000 [000.5000-001.0000]: Again.\n")

    _refused(tmp_path, "Ses04F_impro07.txt, line 5: Ses04F_impro07_F000 is transcribed twice")


# ---------------------------------------------------------------------------------------------------- through prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepare the miniature with wavs, and videos of session 1; return the rows, the problems and the raw folder."""
    folder = tmp_path_factory.mktemp("prepared")
    release = write_release(folder / "raw")
    write_wavs(release)
    write_videos(release, ["Ses01F_impro03", "Ses01M_impro01"])
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    changes = {"[0.1444, 0.2333, 0.8556, 0.7667]": "[0.0, 0.0, 1.0, 1.0]", "unreadable: 0.02": "unreadable: 0.4"}
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    outputs = {"utterances": "utterances.csv", "problems": "problems.csv", "features": "utterances.h5"}
    options = {"params": "params.yaml", "raw": "raw", **outputs}
    arguments = [str(word) for name, value in options.items() for word in (f"--{name}", folder / value)]
    result = CliRunner().invoke(prepare.main, ["--corpus", "iemocap", "--workers", "0", *arguments])
    assert result.exit_code == 0, result.output
    rows = {row.utterance_id: row for row in read_utterances_csv(folder / "utterances.csv")}
    return rows, read_problems(folder / "problems.csv"), folder


def test_prepared_turn_has_its_wav_and_its_span_of_the_video(prepared):
    rows, _, folder = prepared
    left, right = rows["Ses01F_impro03_F002"], rows["Ses01F_impro03_M003"]

    assert (left.start_s, left.end_s, left.region) == (6.0, 7.0, Region(0.0, 0.0, 0.5, 1.0))
    assert (right.start_s, right.end_s, right.region) == (9.0, 10.0, Region(0.5, 0.0, 1.0, 1.0))
    assert left.heard[1:] == (0.0, 0.4) and left.has_audio and left.has_video
    stored = read_utterances(folder / "utterances.h5")
    index = list(stored.utterance_id).index("Ses01F_impro03_F002")
    assert (stored.start_s[index], stored.end_s[index]) == (6.0, 7.0)


def test_prepared_dialogue_without_its_video_keeps_its_sound(prepared):
    rows, problems, _ = prepared
    row = rows["Ses04F_impro07_F000"]
    lost = [problem for problem in problems if problem[0] == row.utterance_id]

    assert (row.has_audio, row.has_video) == (True, False)
    assert lost == [(row.utterance_id, row.media, "clip missing", "no visual; sound and text are kept")]


def test_face_is_looked_for_in_the_speakers_half_at_the_turns_time(prepared):
    """The drawn face is in the left half: the speaker's whom the dialogue's letter names."""
    rows, _, folder = prepared
    cut_faces = speaker_face.FaceWorker(visual_settings("iemocap"), 16)
    found = {}
    for name in ("Ses01F_impro03_F002", "Ses01F_impro03_M003", "Ses01M_impro01_F000"):
        file, *within = rows[name].seen
        cut = cut_faces([speaker_face.UtteranceMedia(str(folder / "raw" / file), *within)]).result[0]
        found[name] = (cut.frames, len(cut.faces), cut.problem)

    assert found == {
        "Ses01F_impro03_F002": (5, 5, ""),
        "Ses01F_impro03_M003": (5, 0, ""),
        "Ses01M_impro01_F000": (5, 0, ""),
    }


def test_sound_is_that_of_the_wav(prepared):
    rows, _, folder = prepared
    file, start_s, end_s = rows["Ses01F_impro03_F000"].heard

    np.testing.assert_allclose(read_audio(folder / "raw" / file, start_s, end_s), tone(0.4, hz=200)[0], atol=1e-4)


def test_files_that_no_turn_uses_are_one_problem(tmp_path):
    write_wavs(write_release(tmp_path))
    (tmp_path / "README.md").write_text("mine")
    problems = corpora.read(tmp_path, prepare_settings("iemocap")).problems
    [found] = [problem for problem in problems if problem.kind == "files not used"]
    # Single raters in sub-folders, macOS's files, sound of turns that the protocol leaves out, the README.
    assert found.problem == "files not used: 111 (hidden 53, .txt 48, .wav 9, .md 1)"
