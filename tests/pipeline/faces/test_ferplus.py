import re

import numpy as np
import pytest

from dferc.core.errors import InputError
from pipeline.faces.ferplus import (
    NO_MAJORITY,
    distribution,
    majority,
    missing_files,
    read_ferplus,
    read_votes,
    wins_as_emotion,
)
from tests.helpers.clips import SHARED
from tests.helpers.drawn_faces import write_ferplus

VOTES = SHARED / "data" / "FERPlus" / "fer2013new.csv"
COUNTS = {"Training": 6, "PublicTest": 3, "PrivateTest": 3}

#        neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF
FIRST = [4, 0, 0, 1, 3, 2, 0, 0, 0, 0]  # the first row of fer2013new.csv
UNSURE = [3, 0, 0, 2, 0, 0, 0, 0, 5, 0]
NOT_A_FACE = [0, 0, 0, 0, 0, 0, 0, 0, 1, 9]
TIED = [4, 0, 0, 0, 0, 0, 0, 0, 4, 2]
SCATTERED = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
HAPPY = [0, 9, 0, 0, 0, 0, 0, 0, 1, 0]


def edit(path, old: str, new: str, line: int) -> None:
    lines = path.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")


def test_distribution_drops_lone_votes_and_shares_the_rest():
    """4, 3 and 2 votes are left of the first row: the lone vote for sadness goes."""
    assert distribution(np.array([FIRST, HAPPY])) == pytest.approx(
        np.array([[4 / 9, 0, 0, 0, 3 / 9, 2 / 9, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]])
    )


def test_distribution_leaves_votes_for_no_emotion_out():
    assert distribution(np.array([[5, 3, 0, 0, 0, 0, 0, 0, 2, 0]]))[0] == pytest.approx([5 / 8, 3 / 8] + [0] * 6)


def test_wins_as_emotion_leaves_out_unknown_no_face_and_no_votes():
    votes = np.array([FIRST, UNSURE, NOT_A_FACE, TIED, SCATTERED, HAPPY])
    assert wins_as_emotion(votes).tolist() == [True, False, False, True, False, True]


def test_majority_needs_more_than_half_of_the_votes_left():
    """4 of 9 is no majority; 9 of 9 is; 5 of 10 is not; 9 votes for `NF` name no emotion."""
    votes = np.array([FIRST, HAPPY, [5, 0, 0, 5, 0, 0, 0, 0, 0, 0], NOT_A_FACE, SCATTERED])
    assert majority(votes).tolist() == [NO_MAJORITY, 1, NO_MAJORITY, NO_MAJORITY, NO_MAJORITY]


@pytest.mark.skipif(not VOTES.exists(), reason="no FER+ votes in $DFERC_SHARED/data/FERPlus")
def test_the_real_votes_give_the_known_numbers_of_faces():
    """35 887 rows, 173 of them without an image; 25 060, 3 199 and 3 153 with a majority, as in the literature."""
    usages, names, votes = read_votes(VOTES)
    named = np.array([bool(name) for name in names])
    usable, agreed = named & wins_as_emotion(votes), named & (majority(votes) != NO_MAJORITY)
    splits = {usage: usages == usage for usage in ("Training", "PublicTest", "PrivateTest")}
    assert {usage: int(rows.sum()) for usage, rows in splits.items()} == {
        "Training": 28709,
        "PublicTest": 3589,
        "PrivateTest": 3589,
    }
    assert int((~named).sum()) == 173 and (votes[~named, 9] == 10).all()
    assert [int((usable & rows).sum()) for rows in splits.values()] == [28389, 3553, 3546]
    assert [int((agreed & rows).sum()) for rows in splits.values()] == [25060, 3199, 3153]
    targets = distribution(votes[usable])
    assert targets.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (agreed <= usable).all()


def test_read_ferplus_joins_by_row_and_splits_by_usage(tmp_path):
    write_ferplus(tmp_path, COUNTS)
    assert missing_files(tmp_path) == []
    splits = read_ferplus(tmp_path, 48)
    assert {name: len(faces) for name, faces in splits.items()} == {"train": 6, "validation": 3, "test": 3}
    faces = splits["train"]
    assert faces.images.dtype == np.uint8 and faces.images.shape == (6, 48, 48)
    assert faces.majority.tolist() == [0, 1, 2, 0, 1, 2]
    bars = [image[[10, 22, 34]].mean(axis=1).argmax() for image in faces.images]  # where each face's bar is
    assert bars == faces.majority.tolist()


def test_read_ferplus_leaves_blank_names_and_unknown_winners_out(tmp_path):
    write_ferplus(tmp_path, COUNTS)
    edit(tmp_path / "fer2013new.csv", "fer0000000.png", "", line=2)
    edit(tmp_path / "fer2013new.csv", ",0,8,0,0,0,0,0,0,0,0", ",0,4,0,0,0,0,0,0,6,0", line=3)
    assert read_ferplus(tmp_path, 48)["train"].majority.tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("size", [16, 24, 64])
def test_read_ferplus_scales_to_the_size_asked_for(tmp_path, size):
    write_ferplus(tmp_path, COUNTS)
    small, full = read_ferplus(tmp_path, size)["test"].images, read_ferplus(tmp_path, 48)["test"].images
    assert small.shape == (3, size, size)
    assert small.mean() == pytest.approx(full.mean(), rel=0.03)


@pytest.mark.parametrize(
    ("name", "line", "old", "new", "message"),
    [
        ("fer2013new.csv", 3, "Training", "Train", "fer2013new.csv, line 3: Usage 'Train', expected Training"),
        ("fer2013new.csv", 4, ",8,", ",eight,", "fer2013new.csv, line 4: votes"),
        ("fer2013new.csv", 4, ",8,", ",-8,", "fer2013new.csv, line 4: votes"),
        ("fer2013new.csv", 1, "unknown", "dunno", "no column unknown; it has ['Usage'"),
        ("fer2013.csv", 1, "pixels", "image", "no column pixels"),
        ("fer2013.csv", 5, "Training", "PublicTest", "fer2013.csv, line 5: Usage 'PublicTest', but 'Training'"),
        ("fer2013.csv", 6, " ", " 256 ", "fer2013.csv, line 6: pixels are grey levels 0 to 255"),
        ("fer2013.csv", 6, " ", " x ", "fer2013.csv, line 6: pixels are grey levels 0 to 255"),
        ("fer2013.csv", 6, " ", " 7 ", "fer2013.csv, line 6: 2305 pixels, expected 48x48 = 2304"),
        ("fer2013.csv", 6, ",Training", "", "fer2013.csv, line 6: fewer values than columns"),
    ],
)
def test_read_ferplus_names_the_line_at_fault(tmp_path, name, line, old, new, message):
    write_ferplus(tmp_path, COUNTS)
    edit(tmp_path / name, old, new, line)
    with pytest.raises(InputError, match=re.escape(message)):
        read_ferplus(tmp_path, 48)


def test_read_ferplus_refuses_files_of_different_lengths(tmp_path):
    write_ferplus(tmp_path, COUNTS)
    lines = (tmp_path / "fer2013.csv").read_text().splitlines(keepends=True)
    (tmp_path / "fer2013.csv").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match=re.escape("fer2013.csv has 11 rows, fer2013new.csv 12")):
        read_ferplus(tmp_path, 48)
    (tmp_path / "fer2013.csv").write_text("".join(lines + lines[-1:]))
    with pytest.raises(InputError, match=re.escape("fer2013.csv has 13 rows, fer2013new.csv 12")):
        read_ferplus(tmp_path, 48)


def test_read_ferplus_needs_a_face_in_every_split(tmp_path):
    write_ferplus(tmp_path, {"Training": 3, "PublicTest": 3})
    with pytest.raises(InputError, match="no usable face of Usage PrivateTest"):
        read_ferplus(tmp_path, 48)


def test_read_ferplus_says_which_file_is_missing(tmp_path):
    write_ferplus(tmp_path, COUNTS)
    (tmp_path / "fer2013.csv").unlink()
    assert missing_files(tmp_path) == ["fer2013.csv"]
    with pytest.raises(InputError, match=re.escape("fer2013.csv is missing. Put fer2013.csv (Kaggle")):
        read_ferplus(tmp_path, 48)


def test_read_votes_refuses_an_empty_table(tmp_path):
    write_ferplus(tmp_path, {})
    with pytest.raises(InputError, match="has no rows"):
        read_votes(tmp_path / "fer2013new.csv")


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013new.csv"])
@pytest.mark.parametrize("junk", [b"\xff\xfe\0", b"x" * 200_000, b'"' + b"y," * 90_000])
def test_file_that_is_no_utf8_csv_is_refused_with_its_line(tmp_path, name, junk):
    write_ferplus(tmp_path, COUNTS)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content + junk)
    with pytest.raises(InputError, match=rf"{name}, line \d+"):
        read_ferplus(tmp_path, 16)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=name):
        read_ferplus(tmp_path, 16)
