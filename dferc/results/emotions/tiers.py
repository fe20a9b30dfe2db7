"""Emotions as tiers, for ELAN (.eaf, by pympi) and Praat (.TextGrid, by praatio): words and emotions of each speaker.

Neither program allows two annotations of a tier to overlap. So an utterance that begins before its speaker's last one
ends goes, with its times unchanged, to a further tier of this speaker, `Anna (overlapping 2)`.
"""

import mimetypes
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.results.emotions.schema import EmotionalUtterance, EmotionsRecord
from dferc.results.emotions.subtitles import one_line

NOTICE = "SYNTHETIC TRAINING DATA"
_NO_XML = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # of a file name; ELAN decodes no %20 and the like
_NO_DATE = "1970-01-01T00:00:00+00:00"  # required by ELAN's schema; the bytes depend on no clock


class Annotation(NamedTuple):
    """A label between two times, in milliseconds."""

    start_ms: int
    end_ms: int
    label: str


def to_eaf(emotions: EmotionsRecord, path: Path, media: Path | None) -> None:
    """Write the utterances with times as an annotation document of ELAN that refers to the medium."""
    try:
        from pympi import Elan
    except ModuleNotFoundError:
        raise InputError("ELAN's format needs pympi, which is not installed: pip install '.[video]'") from None
    eaf = Elan.Eaf(author=emotions.made_by)
    eaf.adocument["DATE"] = _NO_DATE
    eaf.remove_tier("default")
    for sentence in emotions.model.synthetic:
        eaf.properties.append((NOTICE, one_line(sentence)))
    place = os.path.relpath(media, path.parent) if media else emotions.media.name
    url = "./" + _NO_XML.sub("_", place.replace(os.sep, "/"))
    if emotions.media.has_sound or emotions.media.has_picture:  # ELAN would try to play a transcript
        eaf.add_linked_file(url, relpath=url, mimetype=mimetypes.MimeTypes().guess_type(place)[0] or "unknown")
    for name, participant, annotations in tiers(emotions):
        eaf.add_tier(name, part=participant)
        for annotation in annotations:
            eaf.add_annotation(name, *annotation)
    # Not `Elan.to_eaf`: it renames a file of that name to .bak, and lists time slots in the order of the tiers, where
    # the format asks for the order of time.
    document = Elan.to_adocument(eaf)
    order = document.find("TIME_ORDER")
    order[:] = sorted(order, key=lambda slot: int(slot.get("TIME_VALUE")))
    tree = ElementTree.ElementTree(document)
    write_atomically(path, lambda temporary: tree.write(temporary, xml_declaration=True, encoding="UTF-8"))


def to_textgrid(emotions: EmotionsRecord, path: Path) -> None:
    """Write the utterances with times as a TextGrid in Praat's long form."""
    try:
        from praatio.textgrid import IntervalTier, Textgrid
    except ModuleNotFoundError:
        raise InputError("Praat's format needs praatio, which is not installed: pip install '.[video]'") from None
    all_tiers = [(name, annotations) for name, _, annotations in tiers(emotions)]
    ends_ms = [annotation.end_ms for _, annotations in all_tiers for annotation in annotations]
    end_ms = max([1, round(1000 * (emotions.media.length_s or 0)), *ends_ms])
    if emotions.model.synthetic:
        warning = Annotation(0, end_ms, one_line(" ".join(emotions.model.synthetic)))
        all_tiers.insert(0, (NOTICE, [warning]))
    grid = Textgrid(0, end_ms / 1000)
    for name, annotations in all_tiers or [("speaker", [])]:  # Praat opens no TextGrid without a tier
        intervals = [(start / 1000, end / 1000, label) for start, end, label in annotations]
        grid.addTier(IntervalTier(name, intervals, 0, end_ms / 1000), reportingMode="error")
    write_atomically(path, lambda temporary: grid.save(str(temporary), "long_textgrid", includeBlankSpaces=True))


def tiers(emotions: EmotionsRecord) -> Iterator[tuple[str, str, list[Annotation]]]:
    """Yield name, speaker and annotations of each tier; no two have the same name, and no annotations overlap."""
    lanes: dict[str, list[list[EmotionalUtterance]]] = {}
    for utterance in emotions.timed:
        of_speaker = lanes.setdefault(utterance.speaker, [])
        lane = next((lane for lane in of_speaker if _span(lane[-1])[1] <= _span(utterance)[0]), None)
        if lane is None:
            of_speaker.append(lane := [])
        lane.append(utterance)
    taken = {NOTICE}
    for own_name, of_speaker in lanes.items():
        speaker = one_line(own_name) or "speaker"
        for number, lane in enumerate(of_speaker, start=1):
            for kind in ("words", "emotion"):
                name = f"{speaker}, {kind}" + (f" (overlapping {number})" if number > 1 else "")
                while name in taken:  # speakers may be called alike, or as a tier of another
                    name += "'"
                taken.add(name)
                labels = (each.text if kind == "words" else each.label for each in lane)
                yield name, speaker, [Annotation(*_span(each), one_line(text)) for each, text in zip(lane, labels)]


def _span(utterance: EmotionalUtterance) -> tuple[int, int]:
    """Return the times in milliseconds; neither program allows an annotation without length."""
    start_ms = round(1000 * utterance.start_s)
    return start_ms, max(round(1000 * utterance.end_s), start_ms + 1)
