"""How benchmarks/choose_plus.py chooses: no row of the test session is read, and the rounds keep what they say."""

import numpy as np
import pytest

from benchmarks import choose_plus
from dferc.core.errors import InputError


def test_fold_has_the_held_out_session_as_test_and_no_row_of_session_4(tmp_path):
    table = {
        "dialogue": np.array(
            ["Ses01F_impro01", "Ses02M_script01", "Ses03F_impro02", "Ses03F_impro02", "Ses04F_impro01"]
        ),
        "split": np.array(["train", "validation", "train", "train", "test"]),
        "text": np.arange(10.0).reshape(5, 2),
    }
    choose_plus.hold_out(table, "Ses03", tmp_path / "fold.npz")
    fold = np.load(tmp_path / "fold.npz")
    assert fold["split"].tolist() == ["train", "validation", "test", "test"]
    np.testing.assert_array_equal(fold["text"], table["text"][:4])


@pytest.mark.parametrize(
    ("means", "kept"),
    [
        ({"a-1": 0.61, "a-2": 0.63, "b": 0.62, "c": 0.59}, ["a-2", "b"]),
        ({"a-1": 0.6, "a-2": 0.5, "b": 0.5, "c": 0.4}, []),
        ({"a-1": 0.61, "a-2": 0.5, "b": 0.64, "c": 0.63, "d": 0.65}, ["d", "b", "c"]),
    ],
    ids=["two of one setting", "none above", "at most three"],
)
def test_changes_above_the_base_go_together(means, kept):
    changes = {"a-1": {"a": 1}, "a-2": {"a": 2, "e": 1}, "b": {"b": 1}, "c": {"c": 1}, "d": {"d": 1}}
    assert choose_plus.together(0.6, means, changes) == kept


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "bare.npz", split=np.array(["train"]))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "bare.npz", "array.npy"):
        with pytest.raises(InputError, match=f"{name}: no .npz table with a column dialogue"):
            choose_plus.Folds(tmp_path / name, tmp_path / "out", tmp_path / "params.yaml")


class Scored:
    """Folds whose scores are stated: more members are better, and so is less input dropout, on the first seeds."""

    def __init__(self):
        self.asked = set()

    def score(self, name, recipe, session, seed):
        self.asked.add((name, seed))
        better = recipe["members"] + recipe["recurrent_members"]
        return better / 10 + (0.4 - recipe["input_dropout"]) * (1 if seed in choose_plus.FIRST_SEEDS else -1)


def test_new_seeds_decide_the_last_round(capsys):
    folds = Scored()
    recipe = choose_plus.choose(folds, workers=1)
    assert recipe["members"] + recipe["recurrent_members"] == 6
    # Less dropout won the second round; on seeds that it has not seen it loses.
    assert ("2-4-input-dropout-0.2", 2) in folds.asked
    assert recipe["input_dropout"] == 0.4
    assert {seed for name, seed in folds.asked if name == "1-0"} == {0, 1}
    assert "| 2-4-input-dropout-0.2 |" in capsys.readouterr().out
