"""Emotions as subtitles, SubRip and WebVTT: `Anna [joy]: text`, or `[joy] text` where no speaker is known.

The reader of subtitles (pipeline/corpora/table) takes the speaker from this form, and the text without the emotion.
Text is written so that neither players nor readers take a part of it for mark-up, a time or the begin of another cue.
"""

import re

from dferc.results.emotions.schema import EmotionalUtterance, EmotionsRecord

# Controls but white space; marks of direction, which can turn what follows around; zero-width characters; noncharacters
UNPRINTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufdd0-\ufdef\ufeff]")
_NAME_SIGNS = re.compile(r"[\[\]()【】（）<>:：|]+")  # would end a speaker's name
_ASS = re.compile(r"\{(?=[\\/biuyc])|\\(?=[Nnh])", re.IGNORECASE)  # begins a code of ASS or MicroDVD
_TAG = re.compile(r"<(?=[\w/!?])|(?<=--)>|&(?=#?\w+;)")  # begins or ends what a player of SubRip takes for mark-up
_ESCAPES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "{": "&#123;", "\\": "&#92;"}


def as_srt(emotions: EmotionsRecord) -> str:
    """Return the utterances with times as SubRip."""
    return "".join(
        f"{number}\n{_clock(each.start_s, ',')} --> {_clock(_end_s(each), ',')}\n"
        f"{_escaped(cue_text(each, emotions), _TAG)}\n\n"
        for number, each in enumerate(emotions.timed, start=1)
    )


def as_vtt(emotions: EmotionsRecord) -> str:
    """Return the utterances with times as WebVTT; comments hold the warnings, as players do not show them."""
    warning = [f"SYNTHETIC TRAINING DATA: {sentence}" for sentence in emotions.model.synthetic]
    comments = [*warning, *emotions.notices, *emotions.model.licences]
    notes = "".join(f"NOTE {one_line(comment).replace('-->', '->')}\n\n" for comment in comments)
    cues = "".join(
        f"{number}\n{_clock(each.start_s, '.')} --> {_clock(_end_s(each), '.')}\n"
        f"{_escaped(cue_text(each, emotions), re.compile('[<>&]'))}\n\n"
        for number, each in enumerate(emotions.timed, start=1)
    )
    return f"WEBVTT\n\n{notes}{cues}"


def cue_text(utterance: EmotionalUtterance, emotions: EmotionsRecord) -> str:
    """Return speaker, emotion and text in one line; a model of synthetic data is marked in every cue."""
    label = _NAME_SIGNS.sub(" ", utterance.label)
    mark = f"[{label}, SYNTHETIC MODEL]" if emotions.model.synthetic else f"[{label}]"
    speaker = one_line(_NAME_SIGNS.sub(" ", utterance.speaker))
    return one_line(f"{speaker} {mark}: {utterance.text}" if speaker else f"{mark} {utterance.text}")


def one_line(text: str) -> str:
    """Return a text with single blanks for line breaks and white space, without characters that are not printed."""
    return " ".join(UNPRINTED.sub(" ", text).split())


def _escaped(text: str, markup: re.Pattern) -> str:
    marked = markup.sub(lambda found: _ESCAPES[found[0]], text)
    return _ASS.sub(lambda found: _ESCAPES[found[0]], marked)


def _end_s(utterance: EmotionalUtterance) -> float:
    return max(utterance.end_s, utterance.start_s + 0.001)  # players refuse a cue without length


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
