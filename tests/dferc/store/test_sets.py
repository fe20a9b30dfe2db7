"""Feature sets: which files are sets, which of them a run reads, and several of them as one modality."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dferc.core.errors import InputError
from dferc.store.hdf5 import find_sets, read_corpus, read_utterances, write_features
from dferc.store.inspection import maker_of
from dferc.store.vocabulary import in_order
from dferc.training.data import Normalisation, training_statistics
from tests.helpers.common import make_features, write_features_folder


@pytest.fixture
def folder(tmp_path):
    """Two audio sets, text, and a modality of another name with a further set alone."""
    folder = write_features_folder(tmp_path / "demo", widths={"text": 4, "audio": 3}, absent=0.3)
    rows = read_utterances(folder / "utterances.h5")
    write_features(folder / "audio/wavlm.h5", make_features(rows, "audio", 5, absent=0.3, seed=1))
    write_features(folder / "physiology/e4.h5", make_features(rows, "physiology", 2, absent=0.3, seed=2))
    return folder


def test_a_folder_lists_its_sets_in_order(folder):
    assert list(find_sets(folder)) == ["text", "audio", "audio/wavlm", "physiology/e4"]
    assert in_order(["gaze", "visual", "body", "text"]) == ("text", "visual", "body", "gaze")


@pytest.mark.parametrize(
    ("sets", "widths"),
    [
        ({}, {"text": 4, "audio": 3, "physiology": 2}),
        ({"audio": ["audio/wavlm"]}, {"text": 4, "audio": 5, "physiology": 2}),
        ({"audio": ["audio", "audio/wavlm"], "physiology": []}, {"text": 4, "audio": 8}),
        ({"wavlm": ["audio/wavlm"], "text": []}, {"audio": 3, "physiology": 2, "wavlm": 5}),
    ],
)
def test_a_modality_is_read_from_the_sets_chosen_or_else_its_first(folder, sets, widths):
    corpus = read_corpus(folder, sets=sets)
    assert {name: features.width for name, features in corpus.modalities.items()} == widths
    assert list(corpus.modalities) == list(widths) and corpus.sets == sets
    assert all(features.modality == name for name, features in corpus.modalities.items())


def test_a_joined_modality_is_present_where_any_of_its_sets_is(folder):
    first, second = (
        read_corpus(folder, sets={"audio": [name]}).modalities["audio"] for name in ("audio", "audio/wavlm")
    )
    joined = read_corpus(folder, sets={"audio": ["audio", "audio/wavlm"]}).modalities["audio"]
    assert (joined.present == first.present | second.present).all() and not (first.present == second.present).all()
    assert (joined.features == np.hstack([first.features, second.features])).all()
    assert joined.identity["sets"]["audio/wavlm"] == {"width": 5, **second.identity}
    assert joined.identity["rows_hash"] == first.identity["rows_hash"]


def test_statistics_of_a_joined_modality_are_those_of_each_set_and_absent_parts_become_zeros(folder):
    corpora = [read_corpus(folder, sets={"audio": names}) for names in (["audio"], ["audio/wavlm"])]
    joined = read_corpus(folder, sets={"audio": ["audio", "audio/wavlm"]})
    for whole, *parts in zip(*(training_statistics(corpus, "audio") for corpus in (joined, *corpora)), strict=True):
        assert (whole == np.concatenate(parts)).all()
    whole = Normalisation.of(joined, ["audio"]).apply(joined.modalities["audio"])
    for columns, corpus in zip((slice(0, 3), slice(3, 8)), corpora, strict=True):
        alone = Normalisation.of(corpus, ["audio"]).apply(corpus.modalities["audio"])
        assert (whole[:, columns] == alone).all()
        assert (whole[:, columns][~corpus.modalities["audio"].present] == 0).all()


@pytest.mark.parametrize(
    ("sets", "found", "remedy"),
    [
        ({"audio": ["audio/wavlmm"]}, "no feature set 'audio/wavlmm' for audio", "Did you mean 'audio/wavlm'?"),
        ({"face": ["face"]}, "no feature set 'face' for face", "It has text, audio, audio/wavlm, physiology/e4"),
        (dict.fromkeys(("text", "audio", "physiology"), []), "none of text.h5", "train.features leaves in"),
    ],
)
def test_a_set_that_is_not_there_is_named_with_those_that_are(folder, sets, found, remedy):
    with pytest.raises(InputError) as error:
        read_corpus(folder, sets=sets)
    assert found in str(error.value) and remedy in str(error.value)


def test_a_modality_of_several_further_sets_and_no_first_one_asks_for_a_choice(folder):
    shutil.copy(folder / "physiology/e4.h5", folder / "physiology/belt.h5")
    with pytest.raises(InputError, match=r"physiology/belt, physiology/e4 and no physiology.h5.*train.features"):
        read_corpus(folder)
    assert read_corpus(folder, sets={"physiology": ["physiology/e4"]}).modalities["physiology"].width == 2


@pytest.mark.parametrize("name", ["audio copy.h5", "Audio2.h5", "audio/a b.h5", "my-audio/x.h5", "utterances/x.h5"])
def test_a_file_whose_name_is_no_name_of_a_set_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "audio.h5", folder / name)
    with pytest.raises(InputError, match=r"is no name of a feature set.*such as audio/wavlm.h5. Rename it or move"):
        read_corpus(folder)


def test_files_that_are_being_written_or_hidden_are_no_sets(folder):
    for name in (".audio.h5", "audio/._wavlm.h5", ".cache/x.h5", "audio/.wavlm.h5.1.part", "README.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "audio.h5", folder / name)
    assert list(find_sets(folder)) == ["text", "audio", "audio/wavlm", "physiology/e4"]


def test_two_sets_whose_names_differ_in_letter_case_only_are_refused(folder):
    shutil.copy(folder / "audio/wavlm.h5", folder / "audio/WavLM.h5")
    with pytest.raises(InputError, match="two feature sets of one name, 'audio/.*Rename one of them"):
        read_corpus(folder)


def test_sets_of_different_rows_are_not_joined(folder):
    rows = read_utterances(folder / "utterances.h5")
    other = replace(make_features(rows, "audio", 5), utterance_id=rows.utterance_id[::-1].copy())
    write_features(folder / "audio/wavlm.h5", other)
    with pytest.raises(
        InputError, match=r"audio/wavlm.h5: .* row\(s\) are of other utterances.*Make it again: .*--set audio/wavlm"
    ):
        read_corpus(folder, sets={"audio": ["audio", "audio/wavlm"]})


def test_a_file_of_another_modality_under_a_new_name_is_refused_with_both_names(folder):
    shutil.copy(folder / "audio.h5", folder / "camera2.h5")
    with pytest.raises(
        InputError, match="camera2.h5: expected schema 1 of kind 'camera2', found schema 1 of kind 'audio'"
    ):
        read_corpus(folder)


def test_a_listed_set_shows_which_model_made_it():
    """Two encoders of one library, and an edited folder, differ in nothing else."""
    identity = {"extractor": "transformers 5.0", "model": "8b31d5ab99", "params": {"layer": "last"}}
    assert maker_of(identity) == "transformers 5.0, layer last, model 8b31d5ab"
    assert maker_of(identity) != maker_of(identity | {"model": "8e5d29eb99"})
    assert maker_of({"extractor": "none", "model": None}) == "none"
