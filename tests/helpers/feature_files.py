"""Feature files as the field passes them around, in miniature: their true structure, few dialogues, small widths."""

import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np

WIDTHS = {"text": 6, "audio": 5, "visual": 4}
MELD = {0: 3, 1: 1, 59: 2, 61: 4, 1039: 3, 1040: 2, 1153: 3, 1432: 1}
"""Utterances by dialogue, as MELD's pickles number them: train, dev from 1039, test from 1153; no dialogue 60."""
IEMOCAP = {
    "Ses01F_impro01": 4,
    "Ses01M_impro01": 3,  # one of COSMIC's 12 for validation
    "Ses02F_script01_1": 5,
    "Ses04F_impro07": 3,  # another
    "Ses05F_impro01": 3,
    "Ses05M_script01_1b": 2,
}
M3ED = {"one_1": 3, "one_2": 4, "two_1": 3, "three_1": 2}
CLASSES = {"meld": 7, "iemocap": 6, "m3ed": 7}
SENTENCE = "I\x92m fine \x85 really\xa0so"  # cp1252 read as latin-1, as all community pickles have it


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote, protocol 2: text and bytes as byte strings, numpy before it renamed its core."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin-1") if isinstance(value, str) else value
        short = len(data) < 256
        self.write((b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def dump_python2(content: object) -> bytes:
    """Return the bytes of a Python-2 pickle."""
    from io import BytesIO

    file = BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def parts(corpus: str, seed: int = 0, **widths: int) -> dict[str, object]:
    """Return every part that a layout may have, by name."""
    random = np.random.default_rng(seed)
    lengths = {"meld": MELD, "iemocap": IEMOCAP, "m3ed": M3ED}[corpus]
    labels = {key: [(place + len(str(key))) % CLASSES[corpus] for place in range(n)] for key, n in lengths.items()}
    made = {
        "ids": {key: _ids(corpus, key, n) for key, n in lengths.items()},
        "speakers": {key: [_speaker(corpus, place) for place in range(n)] for key, n in lengths.items()},
        "labels": labels,
        "sentiments": {key: [label % 3 for label in row] for key, row in labels.items()},
        "sentences": {key: [f"{SENTENCE} {key} {place}" for place in range(n)] for key, n in lengths.items()},
    }
    sizes = WIDTHS | widths
    for name in (*sizes, "text1", "text2", "text3", "text4"):
        width = sizes[name.rstrip("1234")]
        made[name] = {key: [random.normal(size=width).astype("f4") for _ in range(n)] for key, n in lengths.items()}
    keys = list(lengths)
    if corpus == "meld":
        made |= {"train": [k for k in keys if k < 1153], "test": [k for k in keys if k >= 1153], "other": {0: [1]}}
        made["validation"] = [k for k in keys if 1039 <= k < 1153]
    elif corpus == "iemocap":
        made |= {"train": {k for k in keys if "Ses05" not in k}, "test": {k for k in keys if "Ses05" in k}}
        made["validation"] = {"Ses01M_impro01", "Ses04F_impro07"}
    else:
        made |= {"train": keys[:2], "validation": keys[2:3], "test": keys[3:]}
    return made


def layout(corpus: str, names: str, **widths: int) -> list:
    """Return the parts of a layout, in order; where validation has a list of its own, training lacks it."""
    made, wanted = parts(corpus, **widths), names.split()
    if "validation" in wanted:
        made["train"] = [key for key in made["train"] if key not in made["validation"]]
    return [made[name] for name in wanted]


MMGCN = "ids speakers labels text audio visual sentences train test"
ROBERTA = "text1 text2 text3 text4"
LAYOUTS = {
    "iemocap-9": ("iemocap", MMGCN, tuple),
    "meld-9": ("meld", "ids speakers labels text audio sentences train test sentiments", tuple),
    "meld-10": ("meld", f"{MMGCN} other", tuple),
    "m3ed-10": ("m3ed", "ids speakers labels text audio visual sentences train validation test", list),
    "cosmic-iemocap-10": ("iemocap", f"speakers labels {ROBERTA} sentences train test validation", list),
    "cosmic-meld-11": ("meld", f"speakers labels sentiments {ROBERTA} sentences train test validation", list),
    "sdt-iemocap-12": ("iemocap", f"ids speakers labels {ROBERTA} audio visual sentences train test", tuple),
    "sdt-meld-13": ("meld", f"ids speakers labels {ROBERTA} audio visual sentences train test other", tuple),
    "graphsmile-meld-14": (
        "meld",
        f"ids speakers labels sentiments {ROBERTA} audio visual sentences train test other",
        tuple,
    ),
}


def content(name: str, **widths: int) -> object:
    """Return the content of a layout's file."""
    corpus, names, kind = LAYOUTS[name]
    parts = layout(corpus, names, **widths)
    return as_m3ed_wrote(parts) if corpus == "m3ed" else kind(parts)


def as_m3ed_wrote(parts: list) -> list:
    """Ordered dictionaries; features and sentences as one array per dialogue, ids with their speaker before them."""
    made = [OrderedDict(part) if isinstance(part, dict) else part for part in parts]
    made[0] = OrderedDict(
        (key, [f"{'AB'[n % 2]}_{key}_{n + 1}" for n in range(len(row))]) for key, row in made[0].items()
    )
    for place in (3, 4, 5, 6):
        made[place] = OrderedDict((key, np.array(rows)) for key, rows in made[place].items())
    return made


def write_layout(path: Path, name: str, **widths: int) -> Path:
    """Write a layout's file, as Python 2 would."""
    path.write_bytes(dump_python2(content(name, **widths)))
    return path


def write_multiemo(folder: Path, corpus: str = "meld") -> list[Path]:
    """MultiEMO's four files; its features are arrays [n, D] or lists, by Python 3."""
    made = parts(corpus, text=768, audio=512, visual=1000)
    files = [write_layout(folder / "Speakers.pkl", "meld-10" if corpus == "meld" else "iemocap-9")]
    for modality in WIDTHS:
        path = folder / f"{modality.title()}Features.pkl"
        path.write_bytes(pickle.dumps({key: np.stack(rows) for key, rows in made[modality].items()}))
        files.append(path)
    return files


MMIN = {"audio": ("A/comparE.h5", 130), "visual": ("V/denseface.h5", 342), "text": ("L/bert_large.h5", 1024)}
"""MMIN's file of each modality, and its width."""


def write_mmin(folder: Path, *, raw: bool = False, leave_out: tuple[str, ...] = ()) -> dict[str, Path]:
    """MMIN's three files: frames per utterance under its id; `raw` is the form with times, in a group each."""
    names = [name for ids in parts("iemocap")["ids"].values() for name in ids if name not in leave_out]
    files = {}
    for modality, (file, width) in MMIN.items():
        files[modality] = folder / file
        files[modality].parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(files[modality], "w") as made:
            for number, name in enumerate(names):
                made[f"{name}/feat" if raw else name] = mmin_frames(number, width)
                if raw:
                    made[f"{name}/start"], made[f"{name}/end"] = np.arange(3) / 10, np.arange(1, 4) / 10
    return files


def mmin_frames(number: int, width: int) -> np.ndarray:
    """Three frames of an utterance, the last as MMIN writes "no face": their mean is 2 x number + 2."""
    return np.array([[2 * number + 1.0], [2 * number + 3.0], [0.0]]) * np.ones(width)


def table(split: bool = True) -> dict[str, np.ndarray]:
    """Return a table of five dialogues as columns; two dialogues share the number 0, in different splits."""
    dialogue = np.array([0, 0, 1, 1, 1, 2, 0, 0, 1])
    random = np.random.default_rng(0)
    columns = {
        "dialogue": dialogue,
        "utterance": np.array([0, 2, 0, 1, 2, 0, 0, 1, 0]),
        "emotion": np.array(["joy", "anger", "", "joy", "anger", "joy", "joy", "anger", "joy"]),
        "speaker": np.array(["Ann", "Bob"] * 4 + ["Ann"]),
        "sentence": np.array([f"line {row}" for row in range(9)]),
        "text": random.normal(size=(9, 6)).astype(np.float16),
        "audio": random.normal(size=(9, 5)),
    }
    return columns | ({"split": np.array(["train"] * 6 + ["dev"] * 2 + ["test"])} if split else {})


def _ids(corpus: str, key: object, n: int) -> list:
    if corpus == "meld":
        return [place + (place > 1) for place in range(n)]  # a gap, as 76 of MELD's dialogues have
    return [f"{key}_{'FM'[place % 2]}{place:03d}" for place in range(n)]


def _speaker(corpus: str, place: int) -> object:
    if corpus == "meld":
        return [float(place % 2 == number) for number in range(9)]
    return "FM"[place % 2] if corpus == "iemocap" else "AB"[place % 2]
