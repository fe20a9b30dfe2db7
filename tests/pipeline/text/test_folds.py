"""Cross-fitting: each training dialogue is held out once, and leaves no trace in the encoder of its fold."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dferc.core.device import choose_device
from dferc.core.errors import InputError
from pipeline.extract_text import make_extractor, weights_hash
from pipeline.text.encoder import load_encoder
from pipeline.text.folds import deal_folds, fold_folder, hold_out, read_folds, write_folds
from pipeline.text.windows import dialogue_windows
from tests.helpers.corpora import make_row
from tests.helpers.encoders import extract_settings, naive_vectors, small_encoder, talk
from tests.pipeline.test_finetune_text import ROWS as TALK
from tests.pipeline.test_finetune_text import refused, run

ROWS = [*talk(10), *talk(3, split="validation"), *talk(2, split="test")]
TRAINING = {row.dialogue_id for row in ROWS if row.split == "train"}


def test_every_training_dialogue_is_in_one_fold_and_folds_are_even():
    fold_of = deal_folds(ROWS, 3, seed=0)
    assert set(fold_of) == TRAINING
    assert sorted(Counter(fold_of.values()).values()) == [3, 3, 4]
    assert fold_of == deal_folds(ROWS, 3, seed=0) != deal_folds(ROWS, 3, seed=1)


def test_hold_out_takes_a_folds_dialogues_from_training_and_nothing_else():
    fold_of = deal_folds(ROWS, 3, seed=0)
    held = hold_out(ROWS, fold_of, 1)
    for before, after in zip(ROWS, held, strict=True):
        assert after == (replace(before, split="test") if fold_of.get(before.dialogue_id) == 1 else before)


def test_hold_out_hides_the_labels_of_utterances_that_another_dialogue_shares():
    """MELD's dyadic dialogues overlap."""
    clips = [*((dialogue, str(clip), f"{clip}.mp4") for dialogue in "ab" for clip in (0, 1)), ("b", "2", "2.mp4")]
    rows = [
        make_row(f"{dialogue}_{name}", media, dialogue_id=dialogue, emotion="joy")
        for dialogue, name, media in (*clips, ("b", "3", ""), ("a", "3", ""))
    ]
    held = hold_out(rows, {"a": 0, "b": 1}, 0)
    assert {row.utterance_id for row in held if row.split == "train" and row.emotion} == {"b_2", "b_3"}
    assert {row.utterance_id for row in held if row.split == "test"} == {"a_0", "a_1", "a_3"}


def test_more_folds_than_training_dialogues_are_refused():
    with pytest.raises(InputError, match=r"folds is 11, and the training split has 10 dialogue"):
        deal_folds(ROWS, 11, seed=0)


def test_stage_tunes_an_encoder_per_fold_that_has_not_seen_its_dialogues(tmp_path):
    assert run(tmp_path / "a", epochs=1, folds=2).exit_code == 0
    fold_of = read_folds(tmp_path / "a" / "model")
    emotions = {"joy": "fear", "fear": "anger", "anger": "joy"}
    held = [dialogue for dialogue, fold in fold_of.items() if fold == 0]
    other = [
        replace(row, text=f"{row.text} anew", emotion=emotions.get(row.emotion, "")) if row.dialogue_id in held else row
        for row in TALK
    ]
    assert run(tmp_path / "b", other, epochs=1, folds=2).exit_code == 0
    a, b = ({name: _weights(tmp_path / run / "model" / name) for name in (".", "fold-0", "fold-1")} for run in "ab")
    assert a["fold-0"] == b["fold-0"]
    assert a["."] != b["."] and a["fold-1"] != b["fold-1"]


def _weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_stage_refuses_more_folds_than_dialogues_before_it_trains(tmp_path):
    refused(tmp_path, "folds is 99", "Lower it", folds=99)


def test_features_of_a_dialogue_come_from_the_encoder_that_did_not_see_it(tmp_path):
    fold_of = deal_folds(ROWS, 2, seed=0)
    folders = {None: tmp_path, 0: fold_folder(tmp_path, 0), 1: fold_folder(tmp_path, 1)}
    for seed, folder in enumerate(folders.values()):
        small_encoder(ROWS, seed=seed).save(folder)
    write_folds(tmp_path, fold_of)
    extractor = make_extractor(ROWS, extract_settings(), tmp_path, choose_device("cpu", "float32"))
    made = {row: record.arrays["features"] for row, record in extractor.compute(list(range(len(ROWS))))}
    assert set(made) == set(range(len(ROWS)))
    for fold, folder in folders.items():
        encoder = load_encoder(folder, 48)
        encoder.model.eval()
        expected = naive_vectors(encoder, dialogue_windows(ROWS, encoder.tokenizer, 48)[0])
        mine = [row for row in made if fold_of.get(ROWS[row].dialogue_id) == fold]
        assert mine
        for row in mine:
            np.testing.assert_allclose(made[row], expected[row].numpy(), rtol=0, atol=1e-5)


def test_dialogues_of_another_corpus_come_from_the_main_encoder_whatever_their_ids(tmp_path):
    """Two corpora count their dialogues from 1; a typo that is mended in one makes no other corpus."""
    write_folds(tmp_path, fold_of := deal_folds(ROWS, 2, seed=0), ROWS)
    assert read_folds(tmp_path, [replace(row, text=f"{row.text}, or not") for row in ROWS]) == {}
    assert read_folds(tmp_path, [replace(ROWS[0], text="mended"), *ROWS[1:]]) == read_folds(tmp_path) == fold_of
    (tmp_path / "folds.csv").write_text("dialogue_id,fold\ntrain-0,1\n")  # of before the texts were in it
    assert read_folds(tmp_path, ROWS) == {"train-0": 1}


def test_folds_that_other_texts_of_the_same_dialogues_do_without_are_named(tmp_path, capsys):
    """Such as those of another recogniser: the main encoder has seen the labels of these dialogues."""
    small_encoder(ROWS, seed=0).save(tmp_path)
    write_folds(tmp_path, deal_folds(ROWS, 2, seed=0), [replace(row, text=f"{row.text}, or not") for row in ROWS])
    make_extractor(ROWS, extract_settings(), tmp_path, choose_device("cpu", "float32"))
    assert "none of its folds' dialogues has the same texts here" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("changed", ["fold-1/model.safetensors", "folds.csv"])
def test_identity_of_features_names_the_folds(tmp_path, changed):
    for fold in (0, 1):
        small_encoder(ROWS, seed=fold).save(fold_folder(tmp_path, fold))
    small_encoder(ROWS).save(tmp_path)
    write_folds(tmp_path, deal_folds(ROWS, 2, seed=0))
    before = weights_hash(tmp_path)
    with open(tmp_path / changed, "ab") as file:
        file.write(b"0")
    assert weights_hash(tmp_path) != before


def test_damaged_table_of_folds_is_refused(tmp_path):
    (tmp_path / "folds.csv").write_text("dialogue_id,fold\nd1,first\n")
    with pytest.raises(InputError, match=r"folds\.csv: expected a dialogue_id and a fold"):
        read_folds(tmp_path)
