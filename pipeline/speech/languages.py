"""Whether a text encoder knows the language of a transcript: a rule of thumb (docs/speech.md)."""

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_MANY = re.compile(r"multilingual|\bml\b|xlm|mbert|mdeberta|bge-m3|labse|mmbert|mt5|glot|laser", re.IGNORECASE)
"""Words in the names of encoders that know many languages."""

_MOST_OF_ENGLISH = 110_000  # tokens; vocabularies for many languages have 119,547 (BERT) and more, English ones less
_ENGLISH = {128_000, 128_001, 128_100}  # but DeBERTa-v3's
_LETTERS = 20_000  # that are looked at
_LATIN = ("LATIN", "FULLWIDTH", "MODIFIER", "FEMININE", "MASCULINE")  # first words of the names of its letters
_FOREIGN = 0.3  # share of the letters in another script from which on the texts are in it


def language_note(language: str, texts: Iterable[str], encoder: str) -> str:
    """Return a warning where the encoder does not know the language, or the script of the texts; "" where it does.

    Args:
        language: code such as `en`; "" = unknown, so that only the script is compared.
        texts: texts of the utterances.
        encoder: name of the encoder, or its folder: then the size of its vocabulary decides.
    """
    if _knows_many(encoder):
        return ""
    if script := _other_script(texts):
        found = f"The words are in another script than Latin ({script.lower()})"
    elif language and language.lower().partition("-")[0] not in ("en", "eng", "english", "und"):  # und: unknown
        found = f"The language of the words is {language!r}"
    else:
        return ""
    return f"{found}, and the text encoder seems to know English alone: what the words contribute may mean little."


def _knows_many(encoder: str) -> bool:
    if _MANY.search(Path(encoder).name):
        return True
    try:
        config = json.loads((Path(encoder) / "config.json").read_text(encoding="utf-8"))
        size, name = config.get("vocab_size"), config.get("_name_or_path")
    except (OSError, ValueError, AttributeError):
        return False
    sized = isinstance(size, int) and size >= _MOST_OF_ENGLISH and size not in _ENGLISH
    return sized or isinstance(name, str) and bool(_MANY.search(name))


def _other_script(texts: Iterable[str]) -> str:
    """Return the script of the first letter that is not Latin, where such letters are more than a few; else ""."""
    letters = [letter for letter in "".join(texts)[:_LETTERS] if letter.isalpha()]
    scripts = [unicodedata.name(letter, "LATIN").partition(" ")[0] for letter in letters]
    foreign = [script for script in scripts if script not in _LATIN]
    return foreign[0] if len(foreign) > _FOREIGN * len(letters) else ""
