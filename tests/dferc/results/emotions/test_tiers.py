"""Tiers of emotions, read back by the libraries of ELAN's and Praat's formats and by an XML parser."""

from xml.etree import ElementTree

import pytest

from dferc.results.emotions.tiers import NOTICE, tiers
from tests.dferc.results.emotions.test_document import HOSTILE
from tests.helpers.emotional_talks import SYNTHETIC, talk, utterance


def overlapping():
    """Anna's second utterance begins within her first, her third and one without length do not; Bo's are apart."""
    spans = [("Anna", 0.0, 2.0), ("Anna", 1.0, 3.0), ("Bo", 1.5, 2.5), ("Anna", 2.0, 4.0), ("Bo", 2.5, 2.5)]
    return talk(
        utterances=[
            utterance(at, speaker=speaker, start_s=start, end_s=end, text=f"text {at}")
            for at, (speaker, start, end) in enumerate(spans)
        ]
    )


def test_a_speaker_who_overlaps_gets_further_tiers_and_no_time_changes():
    found = {name: [tuple(each) for each in annotations] for name, _, annotations in tiers(overlapping())}
    assert found["Anna, words"] == [(0, 2000, "text 0"), (2000, 4000, "text 3")]
    assert found["Anna, words (overlapping 2)"] == [(1000, 3000, "text 1")]
    assert found["Bo, words"] == [(1500, 2500, "text 2"), (2500, 2501, "text 4")]
    assert set(found) == {name.replace("words", kind) for name in found for kind in ("words", "emotion")}


def test_elan_reads_every_tier_and_finds_the_medium(tmp_path):
    elan = pytest.importorskip("pympi").Elan
    emotions = overlapping()
    emotions.model.synthetic = [SYNTHETIC]
    (tmp_path / "out").mkdir()
    for _ in range(2):  # pympi itself would keep the first file as .bak
        emotions.to_eaf(tmp_path / "out/emotions.eaf", tmp_path / "a talk #1.webm")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["emotions.eaf"]
    eaf = elan.Eaf(str(tmp_path / "out/emotions.eaf"))
    for name, speaker, annotations in tiers(emotions):
        assert [each[:3] for each in eaf.get_annotation_data_for_tier(name)] == [tuple(each) for each in annotations]
        assert eaf.get_parameters_for_tier(name)["PARTICIPANT"] == speaker
    root = ElementTree.parse(tmp_path / "out/emotions.eaf").getroot()
    times = [int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")]
    assert times == sorted(times) and len(times) == 4 * len(emotions.utterances)
    assert root.find("HEADER/MEDIA_DESCRIPTOR").get("RELATIVE_MEDIA_URL") == "./../a talk #1.webm"
    assert root.find(f"HEADER/PROPERTY[@NAME='{NOTICE}']").text == SYNTHETIC
    assert "default" not in eaf.get_tier_names()


@pytest.mark.parametrize("name", ["Müller, Jäger & Söhne.mp4", "100 %.mp4", "line\nbreak \udcff.mp4"])
def test_elan_which_decodes_no_address_finds_a_medium_of_any_printable_name(tmp_path, name):
    pytest.importorskip("pympi")
    overlapping().to_eaf(tmp_path / "talk.emotions/emotions.eaf", tmp_path / name)
    root = ElementTree.parse(tmp_path / "talk.emotions/emotions.eaf").getroot()
    place = root.find("HEADER/MEDIA_DESCRIPTOR").get("RELATIVE_MEDIA_URL")
    assert place == f"./../{name.replace(chr(10), '_').replace(chr(0xDCFF), '_')}"


def test_elan_is_given_no_transcript_to_play(tmp_path):
    pytest.importorskip("pympi")
    emotions = overlapping()
    emotions.media.has_sound = emotions.media.has_picture = False
    emotions.to_eaf(tmp_path / "emotions.eaf", tmp_path / "talk.srt")
    assert ElementTree.parse(tmp_path / "emotions.eaf").getroot().find("HEADER/MEDIA_DESCRIPTOR") is None


def test_praat_reads_every_tier(tmp_path):
    textgrid = pytest.importorskip("praatio.textgrid")
    emotions = overlapping()
    emotions.model.synthetic = [SYNTHETIC]
    emotions.to_textgrid(tmp_path / "emotions.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "emotions.TextGrid"), includeEmptyIntervals=True)
    assert grid.tierNames == (NOTICE, *(name for name, *_ in tiers(emotions)))
    for name, _, annotations in tiers(emotions):
        entries = grid.getTier(name).entries
        assert [tuple(each) for each in entries if each.label] == [(a / 1000, b / 1000, c) for a, b, c in annotations]
        assert entries[0].start == 0 and entries[-1].end == grid.maxTimestamp == emotions.media.length_s
        assert all(one.end == two.start for one, two in zip(entries, entries[1:], strict=False))
    assert grid.getTier(NOTICE).entries[0].label == SYNTHETIC


def test_texts_and_names_of_any_kind_are_read_back_in_a_line(tmp_path):
    elan, textgrid = pytest.importorskip("pympi").Elan, pytest.importorskip("praatio.textgrid")
    names = ["Anna", "Anna, emotion", "Anna,  emotion", 'quo"ted <b>', "a\nb", ""]
    utterances = [
        utterance(2 * at, speaker=names[at % len(names)], text=text)
        for at, text in enumerate([*HOSTILE, 'say "no"', "no \ufffe \uffff XML"])
    ]
    emotions = talk(utterances=utterances)
    emotions.to_eaf(tmp_path / "emotions.eaf")
    emotions.to_textgrid(tmp_path / "emotions.TextGrid")
    eaf = elan.Eaf(str(tmp_path / "emotions.eaf"))
    grid = textgrid.openTextgrid(str(tmp_path / "emotions.TextGrid"), includeEmptyIntervals=False)
    found = list(tiers(emotions))
    assert len({name for name, *_ in found}) == len(found) == 2 * len(names)
    for name, _, annotations in found:
        labels = [each.label for each in annotations]
        assert all("\n" not in label and "\0" not in label and "\u202e" not in label for label in labels)
        assert [each[2] for each in eaf.get_annotation_data_for_tier(name)] == labels
        assert [each.label for each in grid.getTier(name).entries] == labels
