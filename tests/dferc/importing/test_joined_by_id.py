"""Two files of one corpus: their ids join them, never their order; what one lacks is absent, and nothing is shifted."""

import pickle

import numpy as np
import pytest

from dferc.store.cells import whole_ids
from tests.dferc.importing.test_by_utterance import imported, refused

DIALOGUES, LENGTH = 12, 5


def text_file(folder, names="{utterance}", **columns):
    """Write labels, splits and text of 12 dialogues of 5; the text of each utterance is its place from 1 on."""
    dialogue = np.repeat([f"c{number}" for number in range(DIALOGUES)], LENGTH)
    place = np.tile(np.arange(LENGTH), DIALOGUES)
    table = {
        "dialogue": dialogue,
        "utterance": named(dialogue, place, names),
        "emotion": np.array(["joy", "anger", "sad"])[(place + np.arange(len(place)) // LENGTH) % 3],
        "split": np.repeat(np.array(["train"] * 8 + ["dev"] * 2 + ["test"] * 2), LENGTH),
        "text": np.repeat(place[:, None] + 1.0, 2, axis=1),
    }
    np.savez(folder / "text.npz", **(table | columns))
    return table


def named(dialogue, place, names):
    """Return the utterances' names: numbers, where the pattern is one."""
    if names == "{utterance}":
        return place
    return np.array([names.format(dialogue=one, utterance=two) for one, two in zip(dialogue, place, strict=True)])


def audio_file(folder, rows, **columns):
    """Write the columns of rows with their audio, the place of each from 1 on."""
    table = {"audio": np.repeat(np.tile(np.arange(LENGTH) + 1.0, DIALOGUES)[:, None], 3, axis=1)} | columns
    np.savez(folder / "audio.npz", **{name: column[rows] for name, column in table.items()})


def joined(folder):
    files = ("--text", folder / "text.npz", "--audio", folder / "audio.npz")
    corpus = imported(folder / "out/m", *files, "--corpus=m", "--replace")
    return corpus, (folder / "out/m/problems.csv").read_text()


@pytest.fixture
def shuffled():
    return np.random.default_rng(1).permutation(DIALOGUES * LENGTH)


def test_words_and_speakers_of_a_second_file_go_to_their_utterances(tmp_path, shuffled):
    table = text_file(tmp_path, "{dialogue}_{utterance}")
    ids = table["utterance"]
    words = {
        "speaker": np.array([f"S{name[-1]}" for name in ids]),
        "sentence": np.array([f"of {name}" for name in ids]),
    }
    audio_file(tmp_path, shuffled, dialogue=table["dialogue"], utterance=ids, **words)
    corpus, _ = joined(tmp_path)
    rows = corpus.utterances
    assert rows.text.tolist() == [f"of {name}" for name in rows.utterance_id]
    assert rows.speaker.tolist() == [f"S{name[-1]}" for name in rows.utterance_id]


@pytest.mark.parametrize("names", ["{utterance}", "{dialogue}_{utterance}"])
@pytest.mark.parametrize("labels", [False, True])
def test_rows_in_another_order_are_no_other_corpus(tmp_path, shuffled, names, labels):
    table = text_file(tmp_path, names)
    columns = {name: table[name] for name in ("dialogue", "utterance") + ("emotion", "split") * labels}
    audio_file(tmp_path, shuffled, **columns)
    corpus, problems = joined(tmp_path)
    np.testing.assert_array_equal(corpus.modalities["audio"].features[:, 0], table["text"][:, 0])
    assert "audio" not in problems


@pytest.mark.parametrize("names", ["{utterance}", "{dialogue}_{utterance}"])
@pytest.mark.parametrize("lacking", ["everywhere", "in two dialogues"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_clip_that_lacks_is_absent_alone(tmp_path, names, lacking, place):
    table = text_file(tmp_path, names)
    gone = np.tile(np.arange(LENGTH) == place, DIALOGUES)
    if lacking == "in two dialogues":
        gone &= np.isin(table["dialogue"], ["c1", "c7"])
    audio_file(tmp_path, ~gone, dialogue=table["dialogue"], utterance=table["utterance"])
    corpus, problems = joined(tmp_path)
    audio = corpus.modalities["audio"]
    np.testing.assert_array_equal(audio.present, ~gone)
    np.testing.assert_array_equal(audio.features[~gone, 0], table["text"][~gone, 0])
    assert problems.count("utterances not there: 1 of 5") == gone.sum()


def test_utterances_that_the_labels_do_not_have_are_left_out_and_listed(tmp_path):
    table = text_file(tmp_path, "{dialogue}_{utterance}")
    table["utterance"] = np.where(table["utterance"] == "c3_4", "c3_9", table["utterance"])
    audio_file(tmp_path, slice(None), dialogue=table["dialogue"], utterance=table["utterance"])
    corpus, problems = joined(tmp_path)
    absent = corpus.utterances.utterance_id[~corpus.modalities["audio"].present]
    assert absent.tolist() == ["c3_4"]
    assert "utterances not in text.npz: 1, first c3_9" in problems and "their audio left out" in problems


@pytest.mark.parametrize("lacking", [None, 0, 2])
def test_numbers_from_one_are_those_from_zero(tmp_path, lacking):
    table = text_file(tmp_path)
    there = np.tile(np.arange(LENGTH) != lacking, DIALOGUES)
    sentences = np.array([f"words {number}" for number in table["text"][:, 0]])
    audio_file(tmp_path, there, dialogue=table["dialogue"], utterance=table["utterance"] + 1, sentence=sentences)
    corpus, problems = joined(tmp_path)
    audio = corpus.modalities["audio"]
    np.testing.assert_array_equal(audio.features[there, 0], table["text"][there, 0])
    assert corpus.utterances.text[there].tolist() == sentences[there].tolist()
    assert problems.count("utterances counted from another number than in text.npz") == 1 and "-1 to each" in problems


def test_labels_that_a_second_file_withholds_contradict_nothing(tmp_path):
    table = text_file(tmp_path)
    emotion = np.where(table["split"] == "test", "", table["emotion"])
    columns = {name: table[name] for name in ("dialogue", "utterance", "split")}
    audio_file(tmp_path, slice(None), emotion=emotion, **columns)
    corpus, _ = joined(tmp_path)
    assert corpus.modalities["audio"].present.all()


def test_numbers_of_dialogues_need_no_split_where_they_are_those_of_one(tmp_path):
    table = text_file(tmp_path)
    number = np.repeat(np.arange(DIALOGUES), LENGTH)
    np.savez(tmp_path / "text.npz", **(table | {"dialogue": number}))
    audio_file(tmp_path, slice(None), dialogue=number, utterance=table["utterance"])
    corpus, _ = joined(tmp_path)
    assert corpus.modalities["audio"].present.all()

    again = np.where(number >= 8, number - 8, number)  # each split counts from 0
    np.savez(tmp_path / "text.npz", **(table | {"dialogue": again}))
    later = number >= 8
    np.savez(tmp_path / "audio.npz", dialogue=again[later], utterance=table["utterance"][later], audio=np.ones((20, 2)))
    message = refused(tmp_path, "--text", tmp_path / "text.npz", "--audio", tmp_path / "audio.npz", "--corpus=m")
    assert "this file needs the column `split`" in message


@pytest.mark.parametrize("kinds", [(str, int), (int, str)])
def test_numbers_of_dialogues_are_the_same_as_texts(tmp_path, kinds):
    number = np.repeat(np.arange(DIALOGUES), LENGTH)
    table = text_file(tmp_path, dialogue=number.astype(kinds[0]))
    columns = {name: table[name] for name in ("utterance", "split")}
    audio_file(tmp_path, slice(None), dialogue=number.astype(kinds[1]), **columns)
    corpus, problems = joined(tmp_path)
    np.testing.assert_array_equal(corpus.modalities["audio"].features[:, 0], table["text"][:, 0])
    assert "audio" not in problems


@pytest.mark.parametrize(
    ("ids", "whole"),
    [
        (["1.0", "2.0", "10"], ["1", "2", "10"]),
        (["1.000", "2.000"], ["1", "2"]),
        (["7,0"], ["7"]),
        (["1", "999", "1,000", "1,001"], ["1", "999", "1,000", "1,001"]),
        (["1", "1,000"], ["1", "1,000"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
    ],
)
def test_a_mark_between_thousands_is_no_decimal_mark(ids, whole):
    assert whole_ids(ids)[0] == whole


@pytest.mark.parametrize("kind", [int, str])
def test_numbers_of_dialogues_in_a_pickle_are_those_of_the_table(tmp_path, kind):
    numbers = np.repeat(np.arange(DIALOGUES), LENGTH).astype(kind)
    text_file(tmp_path, dialogue=numbers)
    audio = {number: np.full((LENGTH, 3), number + 1.0) for number in range(DIALOGUES)}
    (tmp_path / "audio.pkl").write_bytes(pickle.dumps(audio))
    files = ("--text", tmp_path / "text.npz", "--audio", tmp_path / "audio.pkl")
    corpus = imported(tmp_path / "out/m", *files, "--corpus=m")
    found = corpus.modalities["audio"]
    expected = [int(name.rpartition("_")[2]) + 1 for name in corpus.utterances.dialogue_id]
    assert found.present.all() and found.features[:, 0].tolist() == expected


def test_numbers_beside_names_of_classes_are_named_as_the_reason(tmp_path):
    table = text_file(tmp_path)
    number = np.array([["joy", "anger", "sad"].index(name) for name in table["emotion"]])
    audio_file(tmp_path, slice(None), **{name: table[name] for name in ("dialogue", "utterance")}, emotion=number)
    files = ("--text", tmp_path / "text.npz", "--audio", tmp_path / "audio.npz", "--corpus=m")
    assert "numbers for the other's names, --classes names them" in refused(tmp_path / "m", *files)
    assert imported(tmp_path / "out/m", *files, "--classes=joy,anger,sad").modalities["audio"].present.all()


@pytest.mark.parametrize("joined_by_names", [True, False])
def test_an_order_that_no_names_mend_is_listed(tmp_path, joined_by_names):
    """Beside numbers, names in the order of the alphabet are joined by their place."""
    names = [f"c{name}_u{place + 7}" for name in range(DIALOGUES) for place in range(LENGTH)]
    table = text_file(tmp_path, **({"utterance": np.array(names)} if joined_by_names else {}))
    theirs = np.array(sorted(names, key=lambda name: (int(name[1:].partition("_")[0]), name)))  # u10, u11, u7, u8, u9
    audio_file(tmp_path, slice(None), dialogue=table["dialogue"], utterance=theirs)
    imported(tmp_path / "out/m", "--text", tmp_path / "text.npz", "--audio", tmp_path / "audio.npz", "--corpus=m")
    assert ("of the alphabet" in (tmp_path / "out/m/problems.csv").read_text()) != joined_by_names


def test_a_table_without_splits_takes_those_that_prepare_left(tmp_path):
    table = text_file(tmp_path)
    imported(tmp_path / "out/m", tmp_path / "text.npz", "--corpus=m")
    (tmp_path / "out/m/text.h5").unlink()
    columns = {name: table[name] for name in ("dialogue", "utterance", "emotion")}
    audio_file(tmp_path, slice(None), **columns)
    corpus = imported(tmp_path / "out/m", "--audio", tmp_path / "audio.npz", "--corpus=m")
    np.testing.assert_array_equal(corpus.modalities["audio"].features[:, 0], table["text"][:, 0])
    assert corpus.utterances.split.tolist() == np.where(table["split"] == "dev", "validation", table["split"]).tolist()


def gapped(numbers):
    """Return numbers of utterances with a gap behind the second of each dialogue, as MELD's have."""
    return numbers + (numbers > 1)


@pytest.mark.parametrize("gaps_in", ["labels", "audio"])
def test_numbers_that_only_count_the_rows_show_nothing_that_lacks(tmp_path, gaps_in):
    place = np.tile(np.arange(LENGTH), DIALOGUES)
    table = text_file(tmp_path, **({"utterance": gapped(place)} if gaps_in == "labels" else {}))
    utterance = place if gaps_in == "labels" else gapped(place)
    audio_file(tmp_path, slice(None), dialogue=table["dialogue"], utterance=utterance)
    corpus, problems = joined(tmp_path)
    np.testing.assert_array_equal(corpus.modalities["audio"].features[:, 0], table["text"][:, 0])
    assert problems.count("audio joined by place") == DIALOGUES


def test_numbers_are_the_same_ids_as_texts(tmp_path):
    number = np.arange(DIALOGUES * LENGTH)
    order = np.concatenate([first + np.array([3, 0, 4, 2, 1]) for first in range(0, len(number), LENGTH)])
    table = text_file(tmp_path, utterance=number)
    audio_file(tmp_path, order, dialogue=table["dialogue"], utterance=number.astype(str))
    corpus, _ = joined(tmp_path)
    np.testing.assert_array_equal(corpus.modalities["audio"].features[:, 0], table["text"][:, 0])


def test_labels_that_are_all_equal_do_not_overrule_the_ids(tmp_path):
    """One file lacks the second utterance of each dialogue, the other the fourth."""
    place = np.tile(np.arange(LENGTH), DIALOGUES)
    table = text_file(tmp_path)
    table["emotion"] = np.where(np.isin(table["dialogue"], ["c1", "c2"]), "joy", table["emotion"])
    np.savez(tmp_path / "text.npz", **{name: column[place != 1] for name, column in table.items()})
    columns = {name: table[name] for name in ("dialogue", "utterance", "emotion", "split")}
    audio_file(tmp_path, place != 3, **columns)
    corpus, _ = joined(tmp_path)
    audio, ours = corpus.modalities["audio"], place[place != 1]
    np.testing.assert_array_equal(audio.present, ours != 3)
    np.testing.assert_array_equal(audio.features[ours != 3, 0], ours[ours != 3] + 1)


def test_words_come_from_the_file_that_has_most_of_them(tmp_path):
    table = text_file(tmp_path)
    words = np.array([f"words {number}" for number in range(len(table["dialogue"]))])
    ids = {name: table[name] for name in ("dialogue", "utterance")}
    audio_file(tmp_path, ~((table["dialogue"] == "c1") & (table["utterance"] == 2)), sentence=words, **ids)
    np.savez(tmp_path / "visual.npz", visual=np.ones((len(words), 2)), sentence=words, **ids)
    files = [f"--{name}={tmp_path / name}.npz" for name in ("text", "audio", "visual")]
    rows = imported(tmp_path / "out/m", *files, "--corpus=m").utterances
    assert rows.text.tolist() == words.tolist()


def test_words_of_numbered_dialogues_need_no_split_either(tmp_path):
    number, table = np.repeat(np.arange(DIALOGUES), LENGTH), text_file(tmp_path)
    np.savez(tmp_path / "text.npz", **(table | {"dialogue": number}))
    words = np.array([f"words {place}" for place in range(len(number))])
    audio_file(tmp_path, slice(None), dialogue=number, utterance=table["utterance"], sentence=words, speaker=words)
    rows = joined(tmp_path)[0].utterances
    assert rows.text.tolist() == rows.speaker.tolist() == words.tolist()
