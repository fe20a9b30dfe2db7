"""`dferc import` of modalities of other names, and of sets that are added to features that are there."""

import pickle
import unicodedata

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.store.hdf5 import find_sets, read_corpus
from dferc.store.rows import CachedCorpus
from tests.helpers import feature_files as made

PHYSIOLOGY = np.arange(27.0).reshape(9, 3) + 1


def run(folder, *options, status=0):
    done = CliRunner().invoke(main, ["import", f"--features={folder}", *map(str, options)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return " ".join(done.stderr.split())


@pytest.fixture
def folder(tmp_path) -> CachedCorpus:
    """Features of an imported table of nine utterances, and a further file of vectors by utterance id beside."""
    np.savez(tmp_path / "table.npz", **made.table())
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    ids = read_corpus(tmp_path / "mine").utterances.utterance_id
    np.savez(tmp_path / "vectors.npz", **dict(zip(ids, PHYSIOLOGY, strict=True)))
    np.savez(tmp_path / "some.npz", **dict(zip(ids[:7], PHYSIOLOGY, strict=False)))
    return tmp_path


def test_a_column_of_vectors_is_a_modality_of_its_name(tmp_path):
    np.savez(tmp_path / "table.npz", **made.table() | {"Heart-Rate": PHYSIOLOGY, "valence": np.arange(9)})
    shown = run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    corpus = read_corpus(tmp_path / "mine")
    assert list(corpus.modalities) == ["text", "audio", "heart_rate"]
    assert (corpus.modalities["heart_rate"].features == PHYSIOLOGY).all()
    assert "heart_rate present" in shown and "unknown column" in shown and "'valence'" in shown


def test_a_column_of_vectors_whose_name_is_nearly_that_of_a_known_one_is_a_fault(tmp_path):
    np.savez(
        tmp_path / "table.npz",
        **{name: made.table()[name] for name in made.table() if name != "audio"},
        audoi=PHYSIOLOGY,
    )
    assert "unknown column 'audoi'. Did you mean 'audio'?" in run(
        tmp_path, tmp_path / "table.npz", "--corpus=m", status=1
    )


def test_a_file_is_taken_for_a_modality_of_any_name(folder):
    run(folder, folder / "table.npz", "--corpus=mine", "--replace", f"--set=physiology={folder / 'vectors.npz'}")
    assert list(find_sets(folder / "mine")) == ["text", "audio", "physiology"]


def test_sets_are_added_to_the_features_that_are_there(folder):
    before = {name: path.read_bytes() for name, path in find_sets(folder / "mine").items()}
    options = (f"--set=audio/wavlm={folder / 'some.npz'}", f"--set=physiology={folder / 'vectors.npz'}")
    shown = run(folder, "--corpus=mine", *options)
    assert "audio/wavlm: 7 of 9 utterances, width 3; 2 problem(s): utterances not there: 1 of 2, first dev_0" in shown
    assert list(find_sets(folder / "mine")) == ["text", "audio", "audio/wavlm", "physiology"]
    assert all((folder / f"mine/{name}.h5").read_bytes() == content for name, content in before.items())
    corpus = read_corpus(folder / "mine", sets={"audio": ["audio/wavlm"]})
    assert corpus.modalities["audio"].present.tolist() == [True] * 7 + [False] * 2
    assert (corpus.modalities["physiology"].features == PHYSIOLOGY).all()
    assert (folder / "mine/problems_audio_wavlm.csv").read_text().count("audio absent there") == 2


def test_a_set_whose_numbers_count_from_one_is_joined_and_listed(folder):
    rows = read_corpus(folder / "mine").utterances
    table = {"dialogue": rows.dialogue_id.astype(str), "utterance": rows.position + 1, "physiology": PHYSIOLOGY}
    np.savez(folder / "from1.npz", **table)
    shown = run(folder, "--corpus=mine", f"--set=physiology={folder / 'from1.npz'}")
    assert "9 of 9 utterances" in shown and "utterances counted from another number than in utterances.h5" in shown
    assert (read_corpus(folder / "mine").modalities["physiology"].features == PHYSIOLOGY).all()


@pytest.mark.parametrize("order", [range(1, 10), (2, 1, 3, 5, 4, 6, 8, 7, 9)])
def test_a_set_whose_utterances_are_named_by_numbers_that_run_on_is_joined_by_them(tmp_path, order):
    table, ids = made.table(), np.array(order)
    table |= {"utterance": ids.astype(str), "position": np.tile(np.arange(3), 3)}
    np.savez(tmp_path / "table.npz", **table)
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    np.savez(
        tmp_path / "e4.npz", dialogue=table["dialogue"], split=table["split"], utterance=ids, physiology=PHYSIOLOGY
    )
    assert "9 of 9 utterances" in run(tmp_path, "--corpus=mine", f"--set=physiology={tmp_path / 'e4.npz'}")
    corpus = read_corpus(tmp_path / "mine")
    expected = PHYSIOLOGY[[order.index(int(name)) for name in corpus.utterances.utterance_id]]
    assert (corpus.modalities["physiology"].features == expected).all()


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_that_run_on_are_joined_whether_they_count_from_0_or_1(tmp_path, first):
    table, ids = made.table(), np.arange(9)
    np.savez(tmp_path / "table.npz", **table | {"utterance": (ids + first).astype(str)})
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    keys = {"dialogue": table["dialogue"], "split": table["split"], "utterance": ids + 1 - first}
    np.savez(tmp_path / "e4.npz", **keys, physiology=PHYSIOLOGY)
    shown = run(tmp_path, "--corpus=mine", f"--set=physiology={tmp_path / 'e4.npz'}")
    assert "9 of 9 utterances" in shown and "counted from another number" in shown
    assert (read_corpus(tmp_path / "mine").modalities["physiology"].features == PHYSIOLOGY).all()


def test_a_set_that_is_there_is_replaced_only_on_request(folder):
    options = ("--corpus=mine", f"--set=audio={folder / 'vectors.npz'}")
    assert "mine/audio.h5 is there already. `--replace`" in run(folder, *options, status=1)
    run(folder, *options, "--replace")
    assert read_corpus(folder / "mine").modalities["audio"].width == 3


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--corpus=mine", "--set=audio/x"], 2, "expected NAME=FILE, such as audio/wavlm=wavlm.npz"),
        (["--corpus=mine", "--set=../x={}"], 2, "expected NAME=FILE"),
        (["--corpus=mine", "--set=utterances={}"], 2, "expected NAME=FILE"),
        (["--corpus=mine", "--set=audio/x={}", "--set=audio/X={}"], 2, "two sets of one name: audio/X"),
        (["--corpus=mine", "--set=audio/x=no.npz"], 2, "'no.npz' does not exist"),
        (["--corpus=other", "--set=audio/x={}"], 1, "has no utterances.h5 to add a set to. Prepare the corpus"),
        (["--set=audio/x={}"], 2, "give --set alone, with --corpus"),
        (["--corpus=mine", "--text={}", "--set=audio/x={}"], 2, "give --set alone, with --corpus"),
        (["--corpus=mine", "--set=audio/x={}", "--ids={}"], 2, "--ids: labels and ids are those of the features"),
    ],
)
def test_wrong_sets_are_refused(folder, options, status, message):
    file = folder / "vectors.npz"
    assert message in run(folder, *(option.format(file) for option in options), status=status).replace("│ ", "")


def test_labels_in_another_order_of_the_classes_are_the_same_labels(tmp_path):
    table = made.table()
    np.savez(tmp_path / "table.npz", **{name: column for name, column in table.items() if name != "audio"})
    np.savez(tmp_path / "more.npz", **{name: column for name, column in table.items() if name != "text"})
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine", "--classes=joy,anger")
    assert read_corpus(tmp_path / "mine").utterances.classes == ("joy", "anger")
    run(tmp_path, "--corpus=mine", f"--set=audio/x={tmp_path / 'more.npz'}")
    audio = read_corpus(tmp_path / "mine", sets={"audio": ("audio/x",)}).modalities["audio"]
    np.testing.assert_array_equal(audio.features, table["audio"].astype(np.float32))
    other = table["emotion"].copy()
    other[:4] = np.where(other[:4] == "joy", "anger", "joy")
    np.savez(
        tmp_path / "wrong.npz",
        **{name: column for name, column in table.items() if name != "text"} | {"emotion": other},
    )
    assert "labels are not those of" in run(
        tmp_path, "--corpus=mine", f"--set=audio/y={tmp_path / 'wrong.npz'}", status=1
    )


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_another_form_of_unicode_are_the_same_names(tmp_path, form):
    table = made.table()
    names = np.array([f"é{name}" for name in range(9)])
    np.savez(tmp_path / "table.npz", **table | {"utterance": names})
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    rows = read_corpus(tmp_path / "mine").utterances
    vectors = {unicodedata.normalize(form, name): PHYSIOLOGY[int(name[1:])][None] for name in rows.utterance_id}
    (tmp_path / "vectors.pkl").write_bytes(pickle.dumps(vectors))  # [1, D], as encoders return them
    run(tmp_path, "--corpus=mine", f"--set=physiology={tmp_path / 'vectors.pkl'}")
    found = read_corpus(tmp_path / "mine").modalities["physiology"]
    assert found.present.all()
    assert found.features[:, 0].tolist() == [PHYSIOLOGY[int(name[1:])][0] for name in rows.utterance_id]


@pytest.mark.parametrize(("how", "width"), [("vectors", 1), ("table", 1), ("vectors", 2), ("vectors", 3)])
def test_names_that_count_from_one_are_those_from_zero(tmp_path, how, width):
    """Also where zeros before their numbers make some of them look like ours (`talk0_01`)."""
    names = np.array([f"talk{each}_{place}" for each in range(3) for place in range(3)])
    dialogue, split = np.repeat(["a", "b", "c"], 3), np.repeat(["train", "dev", "test"], 3)
    np.savez(tmp_path / "table.npz", **made.table() | {"dialogue": dialogue, "utterance": names, "split": split})
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    from_one = [f"talk{each}_{place:0{width}}" for each in range(3) for place in (1, 2, 3)]
    content = dict(zip(from_one, PHYSIOLOGY, strict=True))
    if how == "table":
        content = {"physiology": PHYSIOLOGY, "dialogue": dialogue, "utterance": from_one}
    np.savez(tmp_path / "set.npz", **content)
    shown = run(tmp_path, "--corpus=mine", f"--set=physiology={tmp_path / 'set.npz'}")
    np.testing.assert_array_equal(read_corpus(tmp_path / "mine").modalities["physiology"].features, PHYSIOLOGY)
    assert "utterances counted from another number" in shown


def test_running_numbers_that_go_on_in_another_file_are_refused(tmp_path):
    names, split = np.array([f"clip_{row}" for row in range(9)]), np.repeat(["train", "dev", "test"], 3)
    np.savez(tmp_path / "table.npz", **made.table() | {"dialogue": split, "utterance": names, "split": split})
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    np.savez(tmp_path / "set.npz", **dict(zip([f"clip_{row}" for row in range(9, 18)], PHYSIOLOGY, strict=True)))
    shown = run(tmp_path, "--corpus=mine", f"--set=physiology={tmp_path / 'set.npz'}", status=1)
    assert "names none of the utterances" in shown


def test_names_with_other_zeros_before_their_numbers_are_the_same_names(tmp_path):
    names = np.array([f"talk_{place}" for place in range(12)])
    columns = {"text": np.ones((12, 2)), "emotion": ["joy", "anger"] * 6, "utterance": names, "position": range(12)}
    split = np.repeat(["train", "dev", "test"], 4)
    np.savez(tmp_path / "table.npz", **columns, dialogue=split, split=split)
    run(tmp_path, tmp_path / "table.npz", "--corpus=mine")
    values = np.arange(24.0).reshape(12, 2) + 1
    np.savez(tmp_path / "set.npz", **{f"talk_{place:03}": values[place] for place in range(12)})
    run(tmp_path, "--corpus=mine", f"--set=physiology={tmp_path / 'set.npz'}")
    np.testing.assert_array_equal(read_corpus(tmp_path / "mine").modalities["physiology"].features, values)
