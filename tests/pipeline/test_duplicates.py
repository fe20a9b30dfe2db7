"""Media of the same bytes: found by content, told once per copy, numbered for the protocol card."""

from pipeline.duplicates import identical_clips, identical_files, media_groups
from tests.corpora import make_row


def test_files_with_the_same_bytes_are_grouped_in_order(tmp_path):
    """Here a = c = d and e = f; b has the length of a and other bytes, g a length of its own."""
    contents = {"a": b"same", "b": b"else", "c": b"same", "d": b"same", "e": b"other", "f": b"other", "g": b"single"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    assert identical_files(tmp_path, "abcdefg") == [["a", "c", "d"], ["e", "f"]]
    assert identical_files(tmp_path, "") == []


def test_files_of_a_size_of_their_own_are_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"three")
    (tmp_path / "a").chmod(0)

    assert identical_files(tmp_path, "ab") == []


def test_every_copy_is_one_problem_that_names_the_first():
    assert [(each.where, each.problem) for each in identical_clips([["a", "c", "d"]])] == [
        ("c", "identical clips: same bytes as a"),
        ("d", "identical clips: same bytes as a"),
    ]


def test_rows_of_one_content_share_a_number():
    """By hand: u0, u2 and u5 show a's bytes (c is a copy of it), u3 and u4 one file; u1 is alone, u6 without media."""
    rows = [make_row(f"u{number}", media) for number, media in enumerate(["a", "b", "c", "v", "v", "a", ""])]

    assert media_groups(rows, [["a", "c"]]).tolist() == [0, -1, 0, 1, 1, 0, -1]


def test_corpus_without_media_was_never_compared():
    assert media_groups([make_row("u0"), make_row("u1")], []) is None
