import numpy as np
import pytest
import torch

from dferc.core.errors import InputError
from dferc.store.hdf5 import read_corpus
from dferc.store.vocabulary import MODALITIES
from dferc.training.data import Dialogues, Normalisation, describe_unvarying, normalise_speakers
from tests.helpers.common import write_features_folder


@pytest.fixture
def corpus(tmp_path):
    return read_corpus(write_features_folder(tmp_path, absent=0.3))


def test_normalisation_is_of_the_present_training_rows(corpus):
    normalisation = Normalisation.of(corpus, MODALITIES)
    train = corpus.utterances.split == "train"
    for m, made in corpus.modalities.items():
        x = normalisation.apply(made).numpy()
        np.testing.assert_allclose(x[train & made.present].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(x[train & made.present].std(0), 1, atol=1e-4)
        assert (x[~made.present] == 0).all(), m


def test_normalisation_of_a_constant_feature_does_not_blow_up(corpus):
    corpus.modalities["text"].features[:, 0] = np.where(corpus.modalities["text"].present, 1e3, 0)
    assert Normalisation.of(corpus, ["text"]).scale["text"][0] == np.float32(1e30)


@pytest.mark.parametrize("factor", [1e-9, 1e-7, 1e-4, 1e6])
def test_units_make_no_difference(corpus, factor):
    """Times 1e-7, all features counted as constant before, and F1 fell from 0.916 to 0.294."""
    before = {m: Normalisation.of(corpus, [m]).apply(corpus.modalities[m]).numpy() for m in MODALITIES}
    for features in corpus.modalities.values():
        features.features[...] *= np.float32(factor)
    assert describe_unvarying(corpus, MODALITIES) == []
    for m in MODALITIES:
        after = Normalisation.of(corpus, [m]).apply(corpus.modalities[m]).numpy()
        np.testing.assert_allclose(after, before[m], atol=1e-4)


def test_features_that_do_not_vary_are_named(corpus):
    text = corpus.modalities["text"]
    text.features[:, [2, 5]] = np.where(text.present, 1e-7, 0)[:, None]
    (sentence,) = describe_unvarying(corpus, MODALITIES)
    assert sentence.startswith("text: 2 of 8 features do not vary in training") and sentence.endswith("nothing: 2, 5")
    assert Normalisation.of(corpus, ["text"]).scale["text"][[2, 5]].tolist() == [np.float32(1e30)] * 2


def test_features_that_do_not_vary_in_training_carry_nothing_elsewhere(corpus):
    """Their weights are as they were drawn: what another split has there would be noise of any size."""
    text, test = corpus.modalities["text"], corpus.utterances.split == "test"
    text.features[:, 0] = np.where(test & text.present, 1e3, 0)
    x = Normalisation.of(corpus, ["text"]).apply(text)
    assert x[:, 0].abs().max() < 1e-20 and x[:, 1].abs().max() > 1


def test_normalisation_is_numpys_mean_and_deviation_to_the_bit(corpus):
    """In double precision: whoever trained before must find the same weights again."""
    normalisation, train = Normalisation.of(corpus, MODALITIES), corpus.utterances.split == "train"
    for m, made in corpus.modalities.items():
        rows = made.features[train & made.present].astype(np.float64)
        np.testing.assert_array_equal(normalisation.mean[m], rows.mean(axis=0).astype(np.float32))
        np.testing.assert_array_equal(normalisation.scale[m], rows.std(axis=0).astype(np.float32))
        some = np.array([2, 0, 5])
        assert torch.equal(normalisation.apply(made, some), normalisation.apply(made)[torch.from_numpy(some)])


def test_normalisation_by_speaker_shrinks_towards_the_corpus():
    """Three speakers: many rows, one row, no name; an absent row is no part of any statistic."""
    random = np.random.default_rng(0)
    speaker_N = np.array(["Ann"] * 4000 + ["Bob"] + [""] * 5 + ["Ann"], dtype=object)
    present_N = np.r_[np.ones(4006, bool), False]
    x_ND = random.normal(3.0, 0.5, size=(4007, 2)) * present_N[:, None]
    x_ND[4000:4006] = 2.0
    result = torch.from_numpy(x_ND.copy())
    normalise_speakers(result, present_N, speaker_N)
    ann = result[:4000].numpy()
    # n = 4000 rows against 10 of the corpus: mean 3 n/(n + 10); variance (0.25 n + 10)/(n + 10) = 0.2519
    np.testing.assert_allclose(ann.mean(0), (3.0 - 3.0 * 4000 / 4010) / 0.2519**0.5, atol=0.03)
    np.testing.assert_allclose(ann.std(0), 0.5 / 0.2519**0.5, rtol=0.03)
    # One row: mean 2/11, variance 10/11.
    np.testing.assert_allclose(result[4000], (2 - 2 / 11) / (10 / 11) ** 0.5)
    assert (result[4001:4006] == 2.0).all() and (result[4006] == 0).all()


def test_speakers_are_measured_in_the_split_at_hand(corpus):
    """Training does not depend on the features of other splits, whoever speaks there."""
    normalisation = Normalisation.of(corpus, MODALITIES, by_speaker=True)
    before = Dialogues(corpus, "train", normalisation, MODALITIES).features
    plain = Dialogues(corpus, "train", Normalisation.of(corpus, MODALITIES), MODALITIES).features
    assert not torch.equal(before["text"], plain["text"])
    for made in corpus.modalities.values():
        made.features[corpus.utterances.split != "train"] *= 7
    after = Dialogues(corpus, "train", Normalisation.of(corpus, MODALITIES, by_speaker=True), MODALITIES).features
    assert all(torch.equal(after[m], before[m]) for m in MODALITIES)


def test_normalisation_survives_its_state(corpus):
    normalisation = Normalisation.of(corpus, MODALITIES)
    again = Normalisation.from_state(normalisation.state())
    assert all(torch.equal(again.mean[m], normalisation.mean[m]) for m in MODALITIES)
    assert all(torch.equal(again.scale[m], normalisation.scale[m]) for m in MODALITIES)


@pytest.mark.parametrize("batch_dialogues", [1, 3, 100])
def test_an_epoch_is_every_row_of_the_split_once_in_whole_dialogues(corpus, batch_dialogues):
    split = Dialogues(corpus, "train", Normalisation.of(corpus, MODALITIES), MODALITIES)
    rows = []
    for batch in split.batches(batch_dialogues, torch.Generator().manual_seed(3)):
        rows += batch.rows_N.tolist()
        ids = corpus.utterances.dialogue_id[batch.rows_N.numpy()]
        assert len(set(ids)) == batch.layout.steps[0] <= batch_dialogues
        assert (ids[1:] == ids[:-1]).tolist() == batch.layout.joined.tolist()
        assert batch.labels_N.tolist() == corpus.utterances.emotion[batch.rows_N.numpy()].tolist()
        assert batch.speaker_N.tolist() == corpus.utterances.speaker_order[batch.rows_N.numpy()].tolist()
        for i, m in enumerate(MODALITIES):
            assert batch.present_MN[i].tolist() == corpus.modalities[m].present[batch.rows_N.numpy()].tolist()
    assert sorted(rows) == np.flatnonzero(corpus.utterances.split == "train").tolist()
    assert rows != sorted(rows)


def test_the_order_follows_the_generator(corpus):
    split = Dialogues(corpus, "train", Normalisation.of(corpus, MODALITIES), MODALITIES)

    def order(seed):
        return torch.cat([batch.rows_N for batch in split.batches(2, torch.Generator().manual_seed(seed))]).tolist()

    assert order(0) == order(0) != order(1)


def test_a_missing_modality_is_named(corpus):
    del corpus.modalities["audio"]
    with pytest.raises(InputError, match=r"demo has no audio.h5; it has text, visual"):
        Dialogues(corpus, "train", Normalisation.of(corpus, ["text"]), MODALITIES)
