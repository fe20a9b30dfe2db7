"""Subtitles of emotions: the reader of subtitles takes speaker and text from them, and nothing in a text is mark-up."""

import re

import pytest

from dferc.results.emotions.subtitles import as_srt, as_vtt
from pipeline.corpora.table.subtitles import read_cues
from tests.dferc.results.emotions.test_document import HOSTILE
from tests.helpers.emotional_talks import SYNTHETIC, talk, utterance

WRITERS = {"srt": as_srt, "vtt": as_vtt}


def read(tmp_path, content: str, suffix: str):
    path = tmp_path / f"talk.{suffix}"
    path.write_text(content, encoding="utf-8", newline="")
    return read_cues(path, path.name, "talk.webm", speaker_prefix=True).rows


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("synthetic", [[], [SYNTHETIC]])
def test_our_reader_takes_speaker_text_and_times(tmp_path, suffix, synthetic):
    emotions = talk(40, ("Anna", "Bo"))
    emotions.model.synthetic = synthetic
    emotions.utterances[7].emotion = None
    emotions.utterances[9].speaker = "Once"
    rows = read(tmp_path, WRITERS[suffix](emotions), suffix)
    expected = [(each.speaker, each.text, each.start_s, each.end_s) for each in emotions.utterances]
    assert [(row.speaker, row.text, row.start_s, row.end_s) for row in rows] == expected


@pytest.mark.parametrize("suffix", WRITERS)
def test_without_speakers_the_emotion_stands_in_brackets_before_the_text(tmp_path, suffix):
    emotions = talk(20, ("",))
    emotions.utterances[7].emotion = None
    content = WRITERS[suffix](emotions)
    assert f"[{emotions.utterances[0].emotion}]: {emotions.utterances[0].text}" in content
    assert f"[undecided]: {emotions.utterances[7].text}" in content
    assert [row.text for row in read(tmp_path, content, suffix)] == [each.text for each in emotions.utterances]


@pytest.mark.parametrize("suffix", WRITERS)
def test_text_is_neither_mark_up_nor_a_time_nor_a_cue(tmp_path, suffix):
    emotions = talk(utterances=[utterance(at, text=text) for at, text in enumerate(HOSTILE)])
    content = WRITERS[suffix](emotions)
    cues = content.partition("WEBVTT")[2] if suffix == "vtt" else content
    assert len(re.findall("-->", cues)) == len(HOSTILE)
    assert "<" not in cues.replace("-->", "") and not re.search(
        "[\0-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\r]", cues
    )
    rows = read(tmp_path, content, suffix)
    texts = [" ".join(re.sub("[\0\x07\x1b\u202e\u2066]", " ", text).split()) for text in HOSTILE]
    # Readers unescape twice, as files of others are often escaped twice: &lt; as a text cannot be written.
    assert [row.text for row in rows] == [text.replace("&lt;", "<") for text in texts]


def test_the_warning_of_synthetic_data_stands_in_every_cue_and_in_a_comment():
    emotions = talk(3)
    emotions.model.synthetic = [f"{SYNTHETIC} --> x\n\n00:00"]
    for content in (as_srt(emotions), as_vtt(emotions)):
        assert content.count("SYNTHETIC MODEL]") == 3
    assert as_vtt(emotions).count("-->") == 3 and f"NOTE SYNTHETIC TRAINING DATA: {SYNTHETIC}" in as_vtt(emotions)


def test_cues_without_length_get_one_and_hours_are_written():
    emotions = talk(utterances=[utterance(0, start_s=3723.0, end_s=3723.0)])
    assert "01:02:03,000 --> 01:02:03,001" in as_srt(emotions)
    assert "01:02:03.000 --> 01:02:03.001" in as_vtt(emotions)
