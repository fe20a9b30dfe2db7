"""Words and spans of speech -> utterances."""

import pytest

from pipeline.speech.cutting import LONGEST_S, cut_utterances, ends_sentence
from pipeline.speech.transcript import SpokenWord


def words_of(*timed: tuple[str, float, float]) -> list[SpokenWord]:
    return [SpokenWord(text=f" {text}", start_s=start_s, end_s=end_s) for text, start_s, end_s in timed]


def texts(utterances) -> list[str]:
    return ["".join(word.text for word in words).strip() for words in utterances]


def times(utterances) -> list[tuple[float, float]]:
    return [(words[0].start_s, words[-1].end_s) for words in utterances]


def even(text: str, start_s: float, end_s: float) -> list[SpokenWord]:
    """Return the words of a text, spread evenly."""
    each_s = (end_s - start_s) / len(text.split())
    return words_of(*((word, start_s + n * each_s, start_s + (n + 1) * each_s) for n, word in enumerate(text.split())))


def test_a_pause_ends_an_utterance_and_gives_it_the_times_of_the_detector():
    words = words_of(("Hello", 0.7, 1.4), ("there", 1.4, 2.1), ("Good", 2.3, 2.9), ("morning", 2.9, 3.2))
    utterances = cut_utterances(words, [(1.0, 1.9), (2.5, 3.4)])
    assert texts(utterances) == ["Hello there", "Good morning"]
    assert times(utterances) == [(1.0, 1.9), (2.5, 3.4)]


def test_a_silence_shorter_than_a_pause_does_not():
    words = words_of(("Hello", 1.0, 1.4), ("there", 1.6, 2.0))
    assert texts(cut_utterances(words, [(1.0, 1.4), (1.6, 2.0)])) == ["Hello there"]
    assert texts(cut_utterances(words, [(1.0, 1.4), (1.6, 2.0)], pause_s=0.2)) == ["Hello", "there"]


def test_long_sentences_are_cut_apart_at_the_silence_that_is_heard_and_short_ones_are_not():
    words = [*even("We went there by train.", 0.0, 2.5), *even("It took all of the day.", 2.4, 5.5)]
    utterances = cut_utterances(words, [(0.0, 2.55), (2.75, 5.5)])
    assert texts(utterances) == ["We went there by train.", "It took all of the day."]
    assert times(utterances) == [(0.0, 2.55), (2.75, 5.5)]
    short = words_of(("No.", 0.0, 0.4), ("Tell", 0.5, 0.8), ("me.", 0.8, 1.0))
    assert texts(cut_utterances(short, [(0.0, 1.0)])) == ["No. Tell me."]


@pytest.mark.parametrize("word", [" Mr.", " Dr.", " A.", " U.S.", " 3.5", " one,"])
def test_an_abbreviation_ends_no_sentence(word):
    assert not ends_sentence(word)


@pytest.mark.parametrize("word", [" end.", " what?!", " No.", ' so."', " 吗？", " well…"])
def test_marks_that_end_a_sentence(word):
    assert ends_sentence(word)


def test_an_utterance_that_is_too_long_is_cut_at_its_longest_silence_or_clause():
    words = even(" ".join(["word"] * 60), 0.0, 40.0)
    parts = cut_utterances(words, [(0.0, 40.0)])
    assert all(end_s - start_s <= LONGEST_S for start_s, end_s in times(parts))
    assert sum(map(len, parts)) == 60
    words[23] = words_of(("word,", words[23].start_s, words[23].end_s))[0]
    first = cut_utterances(words[:40], [(0.0, words[39].end_s)], longest_s=20.0)[0]
    assert first[-1].text == " word,"


def test_one_word_is_never_cut():
    assert times(cut_utterances(words_of(("Ohm", 0.0, 30.0)), [(0.0, 30.0)])) == [(0.0, 30.0)]


def test_an_utterance_that_is_too_short_joins_a_near_neighbour_only():
    words = words_of(("Oh", 0.0, 0.2), ("what", 0.7, 1.2), ("Hm", 9.0, 9.2))
    assert texts(cut_utterances(words, [(0.0, 0.2), (0.7, 1.2), (9.0, 9.2)])) == ["Oh what", "Hm"]


def test_no_word_is_lost_or_runs_backwards_whatever_the_times():
    words = words_of(("a", 3.0, 3.1), ("b", 0.5, 0.6), ("c", 9.0, 9.0), ("d", 9.0, 20.0))
    utterances = cut_utterances(words, [(1.0, 2.0), (2.12, 2.3), (4.0, 5.0)])
    assert sum(map(len, utterances)) == 4
    edges = [time_s for each in utterances for word in each for time_s in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    near_one_silence = words_of(("a", 0.0, 0.5), ("b", 0.5, 0.6), ("c", 0.6, 1.2))
    [each] = cut_utterances(near_one_silence, [(0.0, 0.5), (0.7, 1.2)])
    assert [time_s for word in each for time_s in (word.start_s, word.end_s)] == [0.0, 0.5, 0.7, 0.7, 0.7, 1.2]
    assert cut_utterances([], [(1.0, 2.0)]) == cut_utterances(words, []) == []
