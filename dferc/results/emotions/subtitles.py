"""Emotions as subtitles, SubRip and WebVTT: `Anna [joy]: text`, or `[joy]: text` where no speaker is known.

The reader of subtitles (pipeline/corpora/table) takes the speaker from this form, and the text without the emotion. It
takes a name that occurs once for text unless the name is in brackets, hence `[Anna [joy]]: text` then. Text is written
so that neither players nor readers take a part of it for mark-up, a time or the begin of another cue.
"""

import re
from collections import Counter

from dferc.results.emotions.schema import EmotionsRecord

# Controls but white space; marks of direction, which can turn what follows around; zero-width characters; noncharacters
UNPRINTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufdd0-\ufdef\ufeff\ufffe\uffff]"
)
_NAME_SIGNS = re.compile(r"[\[\]()【】（）<>:：|]+")  # would end a speaker's name
_ASS = re.compile(r"\{(?=[\\/biuyc])|\\(?=[Nnh])", re.IGNORECASE)  # begins a code of ASS or MicroDVD
_TAG = re.compile(r"<(?=[\w/!?])|(?<=--)>|&(?=#?\w+;)")  # begins or ends what a player of SubRip takes for mark-up
_ESCAPES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "{": "&#123;", "\\": "&#92;"}


def as_srt(emotions: EmotionsRecord) -> str:
    """Return the utterances with times as SubRip."""
    return _cues(emotions, ",", _TAG)


def as_vtt(emotions: EmotionsRecord) -> str:
    """Return the utterances with times as WebVTT; comments hold the warnings, as players do not show them."""
    warning = [f"SYNTHETIC TRAINING DATA: {sentence}" for sentence in emotions.model.synthetic]
    comments = [*warning, *emotions.notices, *emotions.model.licences]
    notes = "".join(f"NOTE {one_line(comment).replace('-->', '->')}\n\n" for comment in comments)
    return f"WEBVTT\n\n{notes}{_cues(emotions, '.', re.compile('[<>&]'))}"


def _cues(emotions: EmotionsRecord, point: str, markup: re.Pattern) -> str:
    names = [one_line(_NAME_SIGNS.sub(" ", each.speaker)) for each in emotions.timed]
    counts = Counter(name.casefold() for name in names)
    cues = []
    for number, (each, name) in enumerate(zip(emotions.timed, names), start=1):
        label = one_line(_NAME_SIGNS.sub(" ", each.label))
        mark = f"[{label}, SYNTHETIC MODEL]" if emotions.model.synthetic else f"[{label}]"
        opening = f"{name} {mark}" if name else mark
        if name and counts[name.casefold()] == 1:
            opening = f"[{opening}]"
        text = markup.sub(lambda found: _ESCAPES[found[0]], one_line(f"{opening}: {each.text}"))
        text = _ASS.sub(lambda found: _ESCAPES[found[0]], text)
        end_s = max(each.end_s, each.start_s + 0.001)  # players refuse a cue without length
        cues.append(f"{number}\n{_clock(each.start_s, point)} --> {_clock(end_s, point)}\n{text}\n\n")
    return "".join(cues)


def one_line(text: str) -> str:
    """Return a text with single blanks for line breaks and white space, without characters that are not printed."""
    return " ".join(UNPRINTED.sub(" ", text).split())


def _clock(seconds: float, point: str) -> str:
    minutes, rest = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
