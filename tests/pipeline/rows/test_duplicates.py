"""Media of the same bytes: found by content, listed once per copy, numbered for the protocol card."""

import pytest

from pipeline.rows import duplicates
from pipeline.rows.duplicates import identical_clips, identical_files, labels_of, media_groups
from tests.helpers.corpora import make_row


def test_files_with_the_same_bytes_are_grouped_in_order(tmp_path):
    """Here a = c = d and e = f; b has the length of a and other bytes, g a length of its own."""
    contents = {"a": b"same", "b": b"else", "c": b"same", "d": b"same", "e": b"other", "f": b"other", "g": b"single"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    assert identical_files(tmp_path, "abcdefg") == [["a", "c", "d"], ["e", "f"]]
    assert identical_files(tmp_path, "") == []


def test_files_of_a_size_of_their_own_are_not_read(tmp_path, monkeypatch):
    """Hashing all of MELD's clips would read 10 GB."""
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"three")
    monkeypatch.setattr(duplicates, "file_hash", lambda *_: pytest.fail("read"))

    assert identical_files(tmp_path, "ab") == []


ROWS = [make_row(name, name, emotion=emotion) for name, emotion in {"a": "joy", "c": "joy", "d": "anger"}.items()]


def test_every_copy_is_one_problem_that_names_the_first_and_a_conflict():
    problems, _ = identical_clips([["a", "c", "d"]], ROWS)

    assert [(each.where, each.problem, each.consequence) for each in problems] == [
        ("c", "identical clips: same bytes as a", "kept"),
        ("d", "identical clips: same bytes as a", "kept, labelled anger; the earlier one: joy"),
    ]


def test_note_counts_copies_and_conflicts():
    _, (note,) = identical_clips([["a", "c", "d"]], ROWS)

    assert (note.action, note.count) == ("kept", 2)
    assert note.why == "1 of them under another label than the earlier one"
    assert identical_clips([], ROWS) == ([], [])


def test_file_of_several_utterances_has_all_their_labels():
    rows = [make_row("u", "v", emotion="joy"), make_row("w", "v"), make_row("x", "v", emotion="joy", sound="s")]

    assert labels_of(rows) == {"v": "joy, not at all", "s": "joy"}


def test_rows_of_one_content_share_a_number():
    """u0, u2 and u5 show a's bytes (c is a copy of it), u3 and u4 share v; u1 is alone, u6 and u7 have none."""
    rows = [make_row(f"u{number}", media) for number, media in enumerate(["a", "b", "c", "v", "v", "a", "", ""])]

    assert media_groups(rows, [["a", "c"]]).tolist() == [0, -1, 0, 1, 1, 0, -1, -1]


def test_corpus_without_media_was_never_compared():
    assert media_groups([make_row("u0"), make_row("u1")], []) is None
