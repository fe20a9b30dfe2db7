"""The protocol card: what its hash depends on; leaks made by hand are found and named."""

import dataclasses
import json
import time

import numpy as np
import pytest

from dferc.store.card import card_hash, check_leaks, protocol_card, shared
from dferc.store.rows import UNLABELLED, Note, Utterances
from dferc.store.vocabulary import SPLITS
from tests.helpers.common import make_utterances


def make_rows(*dialogues: tuple[str, str, list[tuple[str, str]]], **values) -> Utterances:
    """Make rows from (dialogue, split, [(speaker, text)]); everything unlabelled, spans of a second."""
    rows = [(name, split, place, *turn) for name, split, turns in dialogues for place, turn in enumerate(turns)]
    dialogue, split, position, speaker, text = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    made = {
        "corpus": "made",
        "classes": ("sad", "glad"),
        "protocol": "by hand",
        "utterance_id": np.array([f"{name}-{place}" for name, _, place, *_ in rows], dtype=object),
        "dialogue_id": dialogue,
        "position": position.astype(np.int64),
        "speaker": speaker,
        "emotion": np.full(len(rows), UNLABELLED),
        "split": split,
        "text": text,
        "start_s": np.zeros(len(rows)),
        "end_s": np.ones(len(rows)),
    }
    return Utterances(**made | values)


def checks(rows: Utterances) -> dict:
    """Return the checks by a short name."""
    names = ("by id", "by words", "speakers", "media")
    return dict(zip(names, check_leaks(rows), strict=True))


# ---------------------------------------------------------------------------------------------------- hash


def test_hash_follows_all_that_decides_a_score():
    rows = make_utterances()
    changes = [
        {"emotion": np.where(np.arange(len(rows)) == 7, (rows.emotion + 1) % 3, rows.emotion)},
        {"emotion": np.where(np.arange(len(rows)) == 7, UNLABELLED, rows.emotion)},
        {"split": np.where(rows.dialogue_id == "test-4", "validation", rows.split).astype(object)},
        {"utterance_id": np.where(np.arange(len(rows)) == 7, "other", rows.utterance_id).astype(object)},
        {"dialogue_id": np.where(rows.dialogue_id == "test-4", "other", rows.dialogue_id).astype(object)},
        {"classes": ("neutral", "joy", "fear")},
        {"classes": (*rows.classes, "fear")},
    ]

    hashes = {card_hash(rows), *(card_hash(dataclasses.replace(rows, **change)) for change in changes)}
    assert len(hashes) == 1 + len(changes)


def test_hash_follows_the_order_inside_a_dialogue():
    one = make_rows(("d", "test", [("", "a"), ("", "b")]))
    two = dataclasses.replace(one, utterance_id=one.utterance_id[::-1])

    assert card_hash(one) != card_hash(two)


def test_hash_does_not_follow_wording_or_numbering():
    rows = make_utterances()
    same = [
        {"corpus": "another block", "protocol": "other words", "notes": (_note(3),)},
        {"text": rows.text + "!", "speaker": rows.speaker + "?", "start_s": rows.start_s + 0.1},
        {"position": rows.position + 1, "media_group": np.zeros(len(rows), np.int64), "speaker_independent": True},
        {"classes": rows.classes[::-1], "emotion": 2 - rows.emotion},
    ]

    assert {card_hash(dataclasses.replace(rows, **change)) for change in same} == {card_hash(rows)}


def test_hash_does_not_follow_the_order_of_dialogues():
    rows = make_utterances()
    order = np.array([row for split in SPLITS[::-1] for row in np.flatnonzero(rows.split == split)])
    columns = {
        field.name: getattr(rows, field.name)[order]
        for field in dataclasses.fields(rows)
        if isinstance(getattr(rows, field.name), np.ndarray)
    }

    assert card_hash(dataclasses.replace(rows, **columns)) == card_hash(rows)


def test_hash_cannot_be_fooled_by_separators():
    one = make_rows(("a", "test", [("", "")]), utterance_id=np.array(['b", "c'], dtype=object))
    two = make_rows(('a", "b', "test", [("", "")]), utterance_id=np.array(["c"], dtype=object))

    assert card_hash(one) != card_hash(two)


# ---------------------------------------------------------------------------------------------------- card


def _note(count):
    return Note(action="dropped", what="turns of xxx", count=count, why="undecided")


def test_card_is_plain_data_and_counts_each_split():
    rows = make_rows(
        ("d", "train", [("Ann", "one"), ("Bob", "two")]),
        ("e", "test", [("Cyd", "three")]),
        emotion=np.array([1, UNLABELLED, 0]),
        notes=(_note(2),),
    )

    card = json.loads(json.dumps(protocol_card(rows)))

    names = ("dialogues", "utterances", "labelled", "most_speakers")
    assert {split: tuple(counts[name] for name in names) for split, counts in card["splits"].items()} == {
        "train": (1, 2, 1, 2),
        "validation": (0, 0, 0, 0),
        "test": (1, 1, 1, 1),
    }
    assert {split: counts["classes"] for split, counts in card["splits"].items()} == {
        "train": {"sad": 0, "glad": 1},
        "validation": {"sad": 0, "glad": 0},
        "test": {"sad": 1, "glad": 0},
    }
    assert card["notes"] == [{"action": "dropped", "what": "turns of xxx", "count": 2, "why": "undecided"}]
    assert (card["card"], card["protocol"], card["classes"]) == (card_hash(rows), "by hand", ["sad", "glad"])
    assert [check["leak"] for check in card["checks"]] == [
        "a dialogue in two splits",
        "a dialogue word by word in two splits",
        "a test speaker in another split",
        "the same media in two splits",
    ]


# ---------------------------------------------------------------------------------------------------- leaks

TALK = [("Ann", "Where were you?"), ("Bob", "Out."), ("Ann", "Again?")]


def test_shared_values_are_named_with_their_splits():
    assert shared(["a", "b", "a", "b", "c", "a"], ["test", "train", "train", "train", "test", "validation"]) == {
        "a": ["train", "validation", "test"]
    }
    assert shared([], []) == {}


def test_sound_corpus_has_no_leak():
    rows = make_rows(
        ("d", "train", TALK),
        ("e", "test", [("Cyd", "Where were you?"), ("Dan", "Out."), ("Cyd", "Again?")]),
        speaker_independent=True,
        media_group=np.array([0, 0, 0, 1, 1, 1]),
    )

    assert {name: check.verdict for name, check in checks(rows).items()} == dict.fromkeys(checks(rows), "none")
    assert checks(rows)["speakers"].detail == (
        "0 of 2 test speakers are in another split; the protocol claims there is none"
    )


def test_dialogue_id_in_two_splits_is_found():
    """Rows with this leak are refused when they are made, so the check is tried on what it counts."""
    rows = make_rows(("d", "train", TALK), ("e", "test", TALK))
    object.__setattr__(rows, "dialogue_id", np.array(["d"] * 6, dtype=object))

    found = check_leaks(rows)[0]
    assert (found.verdict, found.detail, found.examples) == ("found", "1 of 1 dialogues", ["d (train, test)"])


def test_dialogue_under_another_id_is_found_by_its_words():
    again = [(speaker, text.upper() + " ") for speaker, text in TALK]
    found = checks(make_rows(("d", "train", TALK), ("x", "train", TALK), ("e", "validation", again)))["by words"]

    assert (found.verdict, found.examples) == ("found", ["d (train, validation)"])
    assert found.detail == "1 of 3 dialogues of 3 and more utterances"


@pytest.mark.parametrize(
    "other",
    [TALK[:2], [*TALK, ("Bob", "Yes.")], [("Cyd", text) for _, text in TALK], [TALK[1], TALK[0], TALK[2]]],
    ids=["shorter", "longer", "other speaker", "other order"],
)
def test_other_dialogue_is_no_leak(other):
    assert checks(make_rows(("d", "train", TALK), ("e", "test", other)))["by words"].verdict == "none"


def test_short_greetings_and_empty_transcripts_are_no_leak():
    greeting = [("Ann", "Hi."), ("Bob", "Hi!")]
    assert checks(make_rows(("d", "train", greeting), ("e", "test", greeting)))["by words"].verdict == "not checked"
    silent = [("", "")] * 5
    assert checks(make_rows(("d", "train", silent), ("e", "test", silent)))["by words"].verdict == "not checked"


def test_test_speaker_in_another_split_is_a_leak_where_the_protocol_claims_none():
    rows = make_rows(
        ("d", "train", [("Ann", "a"), ("Bob", "b")]),
        ("v", "validation", [("Ann", "c")]),  # in train and validation: not what is claimed
        ("e", "test", [("Bob", "d"), ("Cyd", "e"), ("", "f")]),
        speaker_independent=True,
    )

    found = checks(rows)["speakers"]
    assert (found.verdict, found.examples) == ("found", ["Bob (train, test)"])
    assert found.detail == "1 of 2 test speakers are in another split; the protocol claims there is none"


def test_shared_speakers_are_counted_where_nothing_is_claimed():
    found = checks(make_rows(("d", "train", TALK), ("e", "test", TALK)))["speakers"]

    assert (found.verdict, found.examples) == ("not claimed", ["Ann (train, test)", "Bob (train, test)"])
    assert found.detail == "2 of 2 test speakers are in another split; the protocol claims nothing of it"


def test_claim_about_unnamed_speakers_cannot_be_checked():
    rows = make_rows(("d", "train", [("", "a")]), ("e", "test", [("", "b")]), speaker_independent=True)

    assert checks(rows)["speakers"].verdict == "not checked"


def test_identical_media_across_splits_are_found():
    """Group 0 lies in train and test; group 1 twice in train; -1 is no group."""
    rows = make_rows(
        ("d", "train", TALK), ("e", "test", TALK), media_group=np.array([0, 1, 1, 0, -1, -1], dtype=np.int64)
    )

    found = checks(rows)["media"]
    assert (found.verdict, found.examples) == ("found", ["d-0 = e-0 (train, test)"])
    assert found.detail == "1 file(s), compared byte by byte"


@pytest.mark.parametrize(("starts", "verdict"), [([0, 1, 2, 3, 4, 5], "none"), ([0, 1, 2, 2.5, 4, 5], "found")])
def test_one_recording_in_two_splits_leaks_where_spans_overlap(starts, verdict):
    """One long video: d in train says its turns at 0, 1, 2 s, e in test from 3 s (or, overlapping d-2, from 2.5 s)."""
    start_s = np.array(starts, dtype=float)
    same = np.zeros(6, dtype=np.int64)
    rows = make_rows(("d", "train", TALK), ("e", "test", TALK), start_s=start_s, end_s=start_s + 1, media_group=same)

    found = checks(rows)["media"]
    assert (found.verdict, found.examples) == (verdict, ["d-2 = e-0 (train, test)"] if verdict == "found" else [])


def test_media_without_a_span_or_never_compared_are_no_leak():
    rows = make_rows(("d", "train", TALK), ("e", "test", TALK))
    unusable = {"start_s": np.full(6, np.nan), "end_s": np.full(6, np.nan), "media_group": np.zeros(6, dtype=np.int64)}

    assert checks(rows)["media"].verdict == "not checked"
    assert checks(dataclasses.replace(rows, **unusable))["media"].verdict == "none"


def test_many_instances_are_counted_and_five_named():
    speakers = [(f"S{number}", "x") for number in range(9)]
    found = checks(make_rows(("d", "train", speakers), ("e", "test", speakers)))["speakers"]

    assert len(found.examples) == 5 and found.detail.startswith("9 of 9 test speakers")


def test_many_rows_of_one_media_file_take_little_time():
    """40,000 clips of one long video, one overlapping clip in test: pair by pair this took minutes and 1.6 GB."""
    count = 40_000
    rows = make_utterances(dialogues={"train": 1})
    ids = np.array([f"u{n}" for n in range(count)], dtype=object)
    columns = {name: np.repeat(getattr(rows, name), count) for name in ("speaker", "text")}
    split = np.array(["train"] * (count - 1) + ["test"], dtype=object)
    start_s = np.r_[np.arange(count - 1.0), 77.5]
    large = dataclasses.replace(
        rows, utterance_id=ids, dialogue_id=ids, split=split, start_s=start_s, end_s=start_s + 0.9,
        position=np.zeros(count, np.int64), emotion=np.zeros(count, np.int64), media_group=np.zeros(count, np.int64),
        **columns,
    )  # fmt: skip
    before = time.process_time()
    (media,) = (check for check in check_leaks(large) if check.leak == "the same media in two splits")
    assert (media.verdict, media.examples) == ("found", ["u77 = u39999 (train, test)"])
    assert time.process_time() - before < 2
