"""Cells of tables that other people wrote: missing values, whole numbers, spellings, characters that nothing can store.

Every way in (`prepare` and `dferc import`; CSV, JSONL, npz, HDF5, Parquet) reads its cells by these rules.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import numpy as np

from dferc.core.errors import InputError

NULLS = frozenset(
    "NA N/A n/a #N/A #NA #NULL! NaN nan -nan <NA> NaT None null NULL nil \\N ? 1.#QNAN -1.#IND".split()
)  # fmt: skip
"""Spellings by which pandas, R, SQL and spreadsheets write a missing value, letter by letter: `Na` is a name."""

MISSING_LABELS = frozenset(
    {"", "n.a.", "na_character_", ".", "-", "--", "–", "—", "??", "missing", "undefined", "unlabelled", "unlabeled"}
    | {"no label", "no annotation", "not available", "not applicable", "not labelled", "not labeled", "-1", "...", "[]"}
    | {"n.a", "n\\a", "(blank)", "(empty)", "undef", "no agreement", "未标注", "無"}
    | {"#value!", "#ref!", "#name?", "#div/0!", "#num!", "#n/a n/a", "1.#ind", "-1.#qnan", "na_integer_", "na_real_"}
    | {"n / a", "not_available", "not_applicable", "no_label", "not annotated", "unannotated"}
    | {"keine angabe", "sin dato", "нет данных", "无", "缺失", "なし", "없음"}
    | set("#nv #n/d #n/d! #i/t #н/д #yok #saknas! #wert! #bezug! #valeur! #error! #calc! #spill! k.a. n.v. n/d".split())
    | {spelling.casefold() for spelling in NULLS}
)
"""Folded spellings of a label that is missing, unless the setting of the classes names one of them."""

_CALLED_SO = {"-1", "na", "nan", "nat", "nil", "null", "k.a.", "n.v.", "xx"}  # else a person's name, or initials

_NO_LABEL = re.compile(r"([-–—?.*_/~])\1*|\[]|\(\)|<>|{}|\"\"|''|x{2,}|#\S+[!?]")  # ???, xxx, a spreadsheet's #ЗНАЧ!

# The CSVs of MELD's tar carry cp1252's punctuation as C1 control characters (0x92 for an apostrophe).
CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(0x80, 0xA0)}
CP1252[0xA0] = " "

LOST_DIGITS = 1 << 53  # from here on a float does not hold every whole number; `whole_below` has shorter floats

LONGEST_NAME = 1000  # characters that are normalised: the time grows with the square of a run of combining marks

_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")
_INVISIBLE = dict.fromkeys(
    (0x00AD, 0x034F, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)  # soft hyphen, zero width, marks, embeddings and isolates of writing direction
_UNSEEN = _INVISIBLE | dict.fromkeys((0x200C, 0x200D, *range(0xFE00, 0xFE10)))  # joiners, variants of an emoji: kept
_SAME_LETTERS = str.maketrans("\N{MINUS SIGN}ıىيك", "-iییک", "ـ")  # Turkish case; Arabic and Persian keyboards; tatweel
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,3})?")
_FLOAT_ID = re.compile(r"(-?\d+)[.,]0+")
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}[.,]\d{3}")
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+")
_LAST_NUMBER = re.compile(r"[0-9]{1,18}(?=\D*(\.mp[34])?$)")
_TURN = re.compile(r".*_([FM])[0-9]+", re.DOTALL)
_FORMULA = re.compile(r"\s*(?:=|[+@-]\s*[A-Za-z]\w*\()")


def whole_below(dtype: np.dtype) -> int:
    """Return the bound below which a type holds every whole number: 2048 of float16, 16,777,216 of float32."""
    return 2 << np.finfo(dtype).nmant if dtype.kind == "f" and dtype.itemsize < 8 else LOST_DIGITS


def tidy(text: str) -> str:
    """Return a name in composed Unicode (NFC), with single spaces and without invisible characters."""
    return " ".join(normalise("NFC", text.translate(_INVISIBLE)).split())


def fold(text: str) -> str:
    """Return the form in which names are compared: case, spaces, width and composition of letters do not count."""
    text = normalise("NFKC", text.translate(_UNSEEN)).casefold().replace("i\N{COMBINING DOT ABOVE}", "i")
    return " ".join(normalise("NFKC", text.translate(_SAME_LETTERS)).split())


def column_name(name: str) -> str:
    """Return the name of a column as ours are written: `Soft Labels` and `soft-labels` are `soft_labels`."""
    return fold(name).replace(" ", "_").replace("-", "_")


def normalise(form: str, text: str) -> str:
    """Return a text in a normal form of Unicode, NFC or NFKC; one above `LONGEST_NAME` characters as it is."""
    return unicodedata.normalize(form, text) if len(text) <= LONGEST_NAME else text


def number_of(value: object) -> float | int | None:
    """Return the number that a cell holds or spells (`1`, `1.0`, `1,0`, `1e0`), whole ones as int; None for others."""
    if isinstance(value, str):
        text = value.strip().replace("\N{MINUS SIGN}", "-")
        if len(text) > 40 or not _NUMBER.fullmatch(text):
            return None
        value = int(text) if text.lstrip("+-").isdigit() else float(text.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value


def plain(value: object) -> object:
    """Return a cell as None (missing), bool, int, float, str or, if it is none of these, as it is; bytes are UTF-8."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")  # a byte that is not UTF-8 is refused as half a character
    if value is None or isinstance(value, str | int | list | dict):
        return value
    is_missing = math.isnan(value) if isinstance(value, float) else type(value).__name__ in ("NAType", "NaTType")
    return None if is_missing else value


def is_no_label(key: str) -> bool:
    """Return whether a folded label is missing in some spelling: `NA`, `(n/a)`, `no_label`, `???`, IEMOCAP's `xxx`."""
    words = key.strip("\"'<>()[]{}.*_-").replace("_", " ").replace("-", " ")
    listed = key in MISSING_LABELS or bool(words) and words in MISSING_LABELS
    return listed or _NO_LABEL.fullmatch(key) is not None


def storage_fault(text: str) -> str:
    """Describe the character of a text that no file of ours can hold; empty where there is none."""
    found = _UNSTORABLE.search(text)
    if found is None:
        return ""
    character = "a NUL character" if found[0] == "\0" else "half of a character (a lone surrogate, or not UTF-8)"
    return f"{character}: {text[max(0, found.start() - 20) : found.end() + 20]!r}"


def whole_ids(values: Sequence[str]) -> tuple[list[str], str]:
    """Return ids without the `.0` of a column of whole numbers that was kept as floats, and a problem if there were.

    Raises:
        InputError: A number lost digits (`1.23E+15`), so that different ids may have become one.
    """
    given = [value for value in values if value]
    if not given or not all(_NUMBER.fullmatch(value) for value in set(given)):
        return list(values), ""
    if lost := next((value for value in given if _SHORTENED.fullmatch(value)), ""):
        raise InputError(f"{lost!r} is a number that lost digits (a spreadsheet's). Export the column as text")
    parted = [value for value in given if "." in value or "," in value]
    if not all(map(_FLOAT_ID.fullmatch, parted)) or len(parted) < len(given) and all(map(_THOUSANDS.fullmatch, parted)):
        return list(values), ""  # fractions, or `1,000` beside `999`: of floats, each would end in zeros
    floats = [value for value in given if _FLOAT_ID.fullmatch(value)]
    problem = f"whole numbers written as floats: {len(floats)}, first {floats[0]}" if floats else ""
    return [match[1] if (match := _FLOAT_ID.fullmatch(value)) else value for value in values], problem


def speaker_names(values: Sequence[object]) -> tuple[list[str], Counter]:
    """Return names, empty where there is none, and the spellings of missing ones with their counts.

    In a column of numbers, 1, 1.0 and "1.0" are one speaker, and -1 is none.
    """
    texts = ["" if value is None else str(value) for value in values]
    nobody = NULLS | {"k.A.", "k.a.", "n.v."}  # in these letters no initials
    nobody |= {text for text in set(texts) - {""} if is_no_label(fold(text)) and fold(text) not in _CALLED_SO}
    numbers = {text: number_of(text) for text in set(texts) - nobody - {""}}
    as_numbers = None not in numbers.values()
    missing = nobody | {text for text, number in numbers.items() if as_numbers and number == -1}
    names = {
        text: str(number) if as_numbers and isinstance(number, int) and not text.isdigit() else text  # 007 stays 007
        for text, number in numbers.items()
    }
    counts = Counter(text for text in texts if text in missing)
    return ["" if text in missing else names.get(text, "") for text in texts], counts


def near_duplicates(names: Iterable[str]) -> list[list[str]]:
    """Group different names that are the same but for case, spaces or Unicode's form."""
    groups = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[fold(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def alphabetical(dialogues: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the dialogues whose utterances' names stand in the order of the alphabet and not of the talk, if all do.

    `u10` before `u2`; or, as in IEMOCAP, all turns of one speaker (`_F000`, `_F001`) before those of the other.
    """
    if any(list(names) != sorted(names) for names in dialogues.values()):
        return []

    def number(name: str) -> list[str | int]:
        return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]{1,18})", name))]

    turns = {name: {match[1] for match in map(_TURN.fullmatch, names) if match} for name, names in dialogues.items()}
    return [d for d, names in dialogues.items() if len(turns[d]) > 1 or list(names) != sorted(names, key=number)]


def disordered(dialogues: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """Return the dialogues whose utterances' names stand in another order than that of the talk, and which it is.

    That of the alphabet; or names that are alike but for a last number that does not rise: perhaps a place.
    """

    def falls(names: Sequence[str]) -> bool:
        numbers: dict[str, list[int]] = {}  # by what is before them: two speakers may be counted each
        for number in filter(None, map(_LAST_NUMBER.search, names)):
            numbers.setdefault(number.string[: number.start()], []).append(int(number[0]))
        return any(of != sorted(of) for of in numbers.values())

    if moved := alphabetical(dialogues):
        return moved, "utterances in the order of the alphabet"
    return [name for name, of in dialogues.items() if falls(of)], "names of utterances are numbers that do not rise"


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run this text (`=HYPERLINK(…)`) where it opens a table that holds it."""
    return _FORMULA.match(text) is not None
