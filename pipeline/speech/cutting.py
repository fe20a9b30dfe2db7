"""Words of speech recognition -> utterances, at pauses and sentence ends.

The word times of Whisper are off by up to half a second beside a pause. The times of speech that a voice activity
detector (VAD) finds are exact to some hundredths. So a pause ends an utterance where the detector hears it, and words
only say which text lies between two pauses.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.speech.transcript import SpokenWord

PAUSE_S, LONGEST_S, SHORTEST_S = 0.4, 15.0, 0.3  # silence that ends an utterance; longest and shortest utterance
SENTENCE_S = 2.0  # shortest part of an utterance that a sentence end cuts off
VAD_TRAIL_S = 0.1  # by which the detector hears a silence shorter than it is
SHORT_SILENCE_S = 0.1  # shortest silence of the spans that `cut_utterances` is given
_NEAR_S = 0.3  # distance between two words' boundary and the silence that is taken for it
_JOINED_S = 0.8  # longest pause over which an utterance that is too short is joined to its neighbour

_SENTENCE_END = re.compile(r"[.?!…。？！]+[\"'”’»)\]」』]*\s*$")
_CLAUSE_END = re.compile(r"[,;:、，；：—–-][\"'”’»)\]」』]*\s*$")
_ABBREVIATION = re.compile(r"\W*(?:[A-Za-z]|(?:[A-Za-z]\.)+[A-Za-z]|mrs?|ms|dr|prof|st|jr|sr|vs)\.\s*", re.IGNORECASE)

Span = tuple[float, float]
Words = list[SpokenWord]


def cut_utterances(
    words: Sequence[SpokenWord], spans: Sequence[Span], pause_s: float = PAUSE_S, longest_s: float = LONGEST_S
) -> list[Words]:
    """Return the words of each utterance, the times of its first and last word being those of the utterance.

    Args:
        words: in order.
        spans: (start, end) of speech in seconds, in order, apart by `SHORT_SILENCE_S` or more.
        pause_s: silence that ends an utterance.
        longest_s: longest utterance. A longer one is cut at its longest silence, best after a clause.
    """
    silences = [(before[1], after[0]) for before, after in itertools.pairwise(spans)]
    utterances = []
    for stretch, of_stretch in _by_stretch(words, _stretches(spans, pause_s - VAD_TRAIL_S)):
        for sentence in _sentences(_place(of_stretch, stretch, silences)):
            utterances += _shorten(sentence, longest_s)
    return _lengthen(utterances, longest_s)


def _stretches(spans: Sequence[Span], silence_s: float) -> list[Span]:
    """Join spans that are less than a silence apart."""
    stretches: list[Span] = []
    for start_s, end_s in spans:
        if stretches and start_s - stretches[-1][1] < silence_s:
            stretches[-1] = stretches[-1][0], end_s
        else:
            stretches.append((start_s, end_s))
    return stretches


def _by_stretch(words: Sequence[SpokenWord], stretches: Sequence[Span]) -> Iterator[tuple[Span, Words]]:
    """Yield each stretch in which words are: a word is in the one nearest to its middle, none before the last word's.

    Stretches without words, such as laughter, are left out.
    """
    held: dict[int, Words] = {}
    reached = 0
    for word in words if stretches else ():
        middle_s = (word.start_s + word.end_s) / 2
        distances = [max(start_s - middle_s, middle_s - end_s, 0.0) for start_s, end_s in stretches[reached:]]
        reached += distances.index(min(distances))
        held.setdefault(reached, []).append(word)
    for number, of_stretch in held.items():
        yield stretches[number], of_stretch


def _place(words: Words, stretch: Span, silences: Sequence[Span]) -> Words:
    """Return the words within a stretch, from its begin to its end, with silences where they are heard."""
    start_s, end_s = stretch
    within = [silence for silence in silences if start_s < silence[0] and silence[1] < end_s]
    edges: list[Span] = []  # end of a word, begin of the next
    for before, after in itertools.pairwise(words):
        edge = sorted((before.end_s, after.start_s))
        middle_s = sum(edge) / 2
        near = min(within, key=lambda silence: abs(sum(silence) / 2 - middle_s), default=None)
        if near and abs(sum(near) / 2 - middle_s) <= _NEAR_S:
            edge = near
        edges.append(tuple(min(max(time_s, start_s), end_s) for time_s in edge))
    times = [start_s, *itertools.chain.from_iterable(edges), end_s]
    times = list(itertools.accumulate(times, max))  # two words may be near the same silence
    return [
        replace(word, start_s=begin_s, end_s=stop_s)
        for word, begin_s, stop_s in zip(words, times[::2], times[1::2], strict=True)
    ]


def _sentences(words: Words) -> Iterator[Words]:
    """Cut at the ends of sentences; a part shorter than `SENTENCE_S` stays with its neighbour."""
    first = 0
    for number, (before, after) in enumerate(itertools.pairwise(words), start=1):
        long = before.end_s - words[first].start_s >= SENTENCE_S and words[-1].end_s - after.start_s >= SENTENCE_S
        if long and ends_sentence(before.text):
            yield words[first:number]
            first = number
    yield words[first:]


def ends_sentence(word: str) -> bool:
    """Return whether a word is the last of a sentence, by its punctuation."""
    return bool(_SENTENCE_END.search(word)) and not _ABBREVIATION.fullmatch(word)


def _shorten(words: Words, longest_s: float) -> list[Words]:
    """Cut an utterance that is too long, so often as is needed; one word is never cut."""
    length_s = words[-1].end_s - words[0].start_s
    if length_s <= longest_s or len(words) == 1:
        return [words]
    middle_s = (words[0].start_s + words[-1].end_s) / 2

    def merit(number: int) -> tuple[bool, float, bool, float]:
        before, after = words[number - 1], words[number]
        sides_s = min(before.end_s - words[0].start_s, words[-1].end_s - after.start_s)
        silence_s = round(after.start_s - before.end_s, 1)
        clause = bool(_SENTENCE_END.search(before.text) or _CLAUSE_END.search(before.text))
        return sides_s >= length_s / 5, silence_s, clause, -abs(after.start_s - middle_s)

    best = max(range(1, len(words)), key=merit)
    return [*_shorten(words[:best], longest_s), *_shorten(words[best:], longest_s)]


def _lengthen(utterances: Sequence[Words], longest_s: float) -> list[Words]:
    """Join an utterance that is too short to its neighbour, where that is near; else leave it as short as it is."""
    joined: list[Words] = []
    for words in utterances:
        last = joined[-1] if joined else None
        near = last is not None and words[0].start_s - last[-1].end_s <= _JOINED_S
        short = last is not None and min(_length_s(last), _length_s(words)) < SHORTEST_S
        if near and short and words[-1].end_s - last[0].start_s <= longest_s:
            joined[-1] = last + words
        else:
            joined.append(list(words))
    return joined


def _length_s(words: Words) -> float:
    return words[-1].end_s - words[0].start_s
