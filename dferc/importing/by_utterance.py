"""Files that know utterances by their ids, not dialogues in order; labels and splits are often elsewhere.

MMIN, IF-MMIN, CIF-MMIN: HDF5, a dataset per utterance, named by its id, of frames or words. The labels beside them
(target/*.npy) are without dialogues and order.

    Ses01F_impro01_F000 [T, D]            A/comparE.h5, V/denseface.h5, L/bert_large.h5, aligned_*.h5
    Ses01F_impro01_F000/feat [T, D]       raw_*.h5, with their times in /start and /end beside

MELD's own pickles (MELD.Features.Models): a list [train, dev, test].

    {"0_3": [D]}                          text_glove_*, audio_embeddings_*: dialogue and utterance
    {"0": [33, D]}                        text_emotion, audio_emotion: padded with zeros to the longest dialogue
    [{"text", "split", "y", "dialog", "utterance"}, …], W, …      data_emotion.p: labels, splits, transcripts

MMSA's pickles (MOSI, MOSEI, SIMS), {"train": …, "valid": …, "test": …}:

    {"id": ["video$_$clip", …], "text": [N, T, D], "audio", "vision", "raw_text", "annotations", "*_labels", …}

There is one vector per utterance here, so frames are averaged. Frames of zeros alone ("no face", and padding) and
frames that are not finite (COVAREP's -inf) are left out.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import h5py
import numpy as np

from dferc.core.errors import InputError, listed
from dferc.importing.corpora import IEMOCAP, MELD, MELD_NAMES, is_iemocap_dialogue, natural
from dferc.importing.source import About, Source, clean_text, kind, rows_of, text_of, to_matrices, vector_of
from dferc.store.cells import fold, is_no_label, plain
from dferc.store.closed import ClosedHdf5
from dferc.store.labels import Labels
from dferc.store.rows import UNLABELLED, Note
from dferc.store.vocabulary import SPLIT_NAMES

MMIN = {130: "audio", 342: "visual", 1024: "text"}  # by width: comparE, denseface, bert_large (by its name, too)
MELD_WIDTHS = {1611: "audio", 1422: "audio"}  # of openSMILE, selected for emotion and for sentiment
MMSA_MODALITIES = {"text": "text", "audio": "audio", "visual": "vision"}
_DIGITS = re.compile("[0-9]{1,18}")
MMSA_ORDER = ("negative", "weakly negative", "neutral", "weakly positive", "positive")


def frames_of(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return an utterance's frames, or None. A table's matrix has a row per utterance, and no utterance's name."""
    item = file[name]
    if isinstance(item, h5py.Group):
        item = item.get("feat")
    elif not is_iemocap_dialogue(name.rpartition("_")[0]):
        return None
    return item if isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "biuf" else None


def has_frames(opened: ClosedHdf5) -> bool:
    """Return whether the first item of an HDF5 file is frames."""
    first = next(iter(opened.file), None)
    return first is not None and frames_of(opened.file, first) is not None


def read_frames(opened: ClosedHdf5, about: About) -> Source:
    """Return the mean over each utterance's frames."""
    path, file = opened.path, opened.file
    frames = {name: frames_of(file, name) for name in file}
    first = next(iter(frames))
    if (strange := next((name for name, dataset in frames.items() if dataset is None), None)) is not None:
        raise InputError(f"{path}, {strange:.60}: no frames [T, D], as {first:.60} has them.")
    width = frames[first].shape[1]
    other = next((name for name, dataset in frames.items() if dataset.shape[1] != width), None)
    if other is not None:
        raise InputError(
            f"{path}, {other:.60}: frames of {frames[other].shape[1]} values, expected {width} as in {first:.60}. One "
            "modality has one width: extract the utterance again, or leave it out."
        )
    left_out, vectors = 0, {}
    for name, dataset in frames.items():
        vectors[name], count = mean_of_frames(opened.read(dataset.name))
        left_out += count
    known = all(is_iemocap_dialogue(name.rpartition("_")[0]) for name in vectors)
    modality = MMIN.get(width, "?")
    if modality == "text" and not re.match("(?!.*(hubert|w2v|wav2)).*bert", path.stem.lower()):
        modality = "?"  # 1024 values are of large encoders of sound, too
    return Source(
        about=replace(about, layout="HDF5 of MMIN, IF-MMIN, CIF-MMIN: frames by utterance, averaged"),
        corpus=IEMOCAP.name if known else "",
        vectors={modality: vectors},
        notes=_note_frames({modality.replace("?", "features"): left_out}),
    )


def mean_of_frames(frames_TD: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the mean [D] float32 over the finite frames that are not zeros alone, and how many are not finite.

    Without any frame, the mean is zeros; where all others are not finite, it is not finite: both are absent later.
    """
    shown = frames_TD[frames_TD.any(axis=1)]
    finite = np.isfinite(shown).all(axis=1)
    if not len(shown):
        return np.zeros(frames_TD.shape[1], dtype=np.float32), 0
    with np.errstate(over="ignore", invalid="ignore"):  # a mean that is not finite is marked as absent later
        chosen = shown[finite] if finite.any() else shown
        return chosen.mean(axis=0, dtype=np.float64).astype(np.float32), int((~finite).sum())


def _note_frames(left_out: Mapping[str, int]) -> tuple[Note, ...]:
    why = "not finite; the mean is over the utterance's other frames"
    return tuple(
        Note(action="dropped", what=f"{name} frames", count=count, why=why) for name, count in left_out.items() if count
    )


def vectors_by_id(content: object, about: About) -> dict[str, np.ndarray] | None:
    """Return the vectors [D] float32 of a mapping from ids to vectors, all of one width; None where it is none."""
    if not isinstance(content, Mapping) or not content:
        return None
    vectors = {}
    for key, value in content.items():
        name, vector = text_of(key), vector_of(value) if isinstance(value, (list, tuple, np.ndarray)) else None
        if name is None or vector is None:
            return None
        vectors[str(clean_text(key))] = vector
    if len(vectors) < len(content):
        raise InputError(f"{about}: {len(content)} ids, {len(vectors)} of them different. Name each utterance once.")
    first = next(iter(vectors))
    other = next((name for name, vector in vectors.items() if len(vector) != len(vectors[first])), None)
    if other is not None:
        raise InputError(
            f"{about}, {other:.60}: {len(vectors[other])} values, expected {len(vectors[first])} as in "
            f"{first:.60}. One modality has one width: extract it again, or leave it out."
        )
    return vectors if len(vectors[first]) else None


def read_vectors(vectors: dict[str, np.ndarray], about: About) -> Source:
    """Return vectors by utterance id; the file does not show of which modality."""
    known = all(is_iemocap_dialogue(name.rpartition("_")[0]) for name in vectors)
    about = replace(about, layout="vectors by utterance id")
    return Source(about=about, corpus=IEMOCAP.name if known else "", vectors={"?": vectors})


# ------------------------------------------------------------------------------------------------ MELD's own pickles


def by_split(content: object) -> dict[str, dict] | None:
    """Return the parts of [train, dev, test], or of a dictionary with these names, by split; None for anything else."""
    if isinstance(content, (list, tuple)) and len(content) == 3:
        content = dict(zip(("train", "validation", "test"), content))
    if not isinstance(content, dict) or not content or not all(isinstance(part, dict) for part in content.values()):
        return None
    names = [SPLIT_NAMES.get(str(clean_text(key)).lower()) for key in content]
    return dict(zip(names, content.values())) if set(names) == {"train", "validation", "test"} == {*names} else None


def read_meld_features(parts: Mapping[str, dict], about: About) -> Source | None:
    """Read MELD's pickles of features, or return None where the keys are not its numbers."""
    keys = [str(clean_text(key)) for part in parts.values() for key in part]
    named = next((name for name in ("text", "audio", "visual") if about.path.stem.lower().startswith(name)), "?")
    if keys and all(_meld_numbers(key) for key in keys):
        vectors: dict[str, np.ndarray] = {}
        for split, part in parts.items():
            of_split = vectors_by_id(part, about)
            if of_split is None:
                raise InputError(
                    f"{about}: under {split}, {_first_no_vector(part)}; expected a vector of numbers [D] for each."
                )
            for key, vector in of_split.items():
                name = "{}_dia{}_utt{}".format(MELD_NAMES[split], *_meld_numbers(key))
                if name in vectors:
                    raise InputError(f"{about}: the utterance {name} is there twice (as {key!r}, among others).")
                vectors[name] = vector
        widths = {len(vector) for vector in vectors.values()}
        if len(widths) > 1:
            raise InputError(f"{about}: vectors of {listed(sorted(widths), 5)} values; one modality has one width.")
        about = replace(about, layout="MELD's own features: [train, dev, test], a vector by dialogue_utterance")
        return Source(about=about, corpus=MELD.name, vectors={MELD_WIDTHS.get(widths.pop(), named): vectors})
    if keys and all(key.isdecimal() for key in keys):
        padded = {f"{MELD_NAMES[s]}_{clean_text(key)}": rows for s, part in parts.items() for key, rows in part.items()}
        if any(not isinstance(value, (list, np.ndarray)) for value in padded.values()):
            return None
        matrices = to_matrices(padded, about, "features")
        layout = "MELD's own features: [train, dev, test], a matrix by dialogue, padded with zeros"
        features = {name: matrix[: len(np.trim_zeros(matrix.any(axis=1), "b"))] for name, matrix in matrices.items()}
        return Source(about=replace(about, layout=layout), corpus=MELD.name, features={named: features})
    return None


def _meld_numbers(key: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(?:dia)?(\d{1,9})_(?:utt)?(\d{1,9})", key)
    return (int(match[1]), int(match[2])) if match else None


def _first_no_vector(part: dict) -> str:
    for key, value in part.items():
        if not isinstance(value, (list, tuple, np.ndarray)) or vector_of(value) is None:
            return f"{str(clean_text(key))!r:.40} is {kind(value)}"
    return "there is nothing"


def is_meld_data(content: object) -> bool:
    """Return whether this is data_emotion.p or data_sentiment.p: utterances first, then words and their vectors."""
    rows = content[0] if isinstance(content, (list, tuple)) and content else None
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and _MELD_KEYS <= _plain(rows[0]).keys()


_MELD_KEYS = {"split", "y", "dialog", "utterance"}


def _plain(row: Mapping) -> dict:
    return {str(clean_text(key)): value for key, value in row.items() if value is not None}


def read_meld_data(content: Sequence, about: About) -> Source:
    """Read labels, splits and transcripts of data_emotion.p."""
    rows: dict[str, dict[int, tuple[int, str]]] = {}
    splits = {}
    for place, row in enumerate(content[0]):
        row, where = _plain(row) if isinstance(row, dict) else {}, f"{about}, row {place}"
        if lacks := sorted(_MELD_KEYS - row.keys()):
            raise InputError(f"{where}: without {', '.join(lacks)}; expected them in every row.")
        split, label = SPLIT_NAMES.get(str(clean_text(row["split"]))), str(clean_text(row["y"])).lower()
        numbers = _meld_numbers(f"{_number(row['dialog'])}_{_number(row['utterance'])}")
        if split is None or numbers is None or label not in MELD.classes:
            raise InputError(
                f"{where}: split {row['split']!s:.20}, dialogue {row['dialog']!s:.20}, utterance "
                f"{row['utterance']!s:.20}, label {row['y']!s:.20}; expected train, val or test, whole numbers, and "
                f"one of {', '.join(MELD.classes)} (data_emotion.p, not data_sentiment.p)."
            )
        name = f"{MELD_NAMES[split]}_{numbers[0]}"
        if numbers[1] in rows.setdefault(name, {}):
            raise InputError(f"{where}: the utterance {numbers[1]} of dialogue {name} is there twice.")
        rows[name][numbers[1]] = (MELD.classes.index(label), str(clean_text(row.get("text", "")) or ""))
        splits[name] = split
    ordered = {name: sorted(utterances.items()) for name, utterances in rows.items()}
    splits = dict(sorted(splits.items(), key=lambda item: (list(MELD_NAMES).index(item[1]), natural(item[0]))))
    return Source(
        about=replace(about, layout="MELD's own data_emotion.p: labels, splits, transcripts"),
        corpus=MELD.name,
        classes=MELD.classes,
        splits=splits,
        labels={name: [label for _, (label, _) in utterances] for name, utterances in ordered.items()},
        utterances={name: [number for number, _ in utterances] for name, utterances in ordered.items()},
        texts={name: [text for _, (_, text) in utterances] for name, utterances in ordered.items()},
    )


def _number(value: object) -> str:
    return str(value) if isinstance(value, (int, np.integer)) else str(clean_text(value))


# ------------------------------------------------------------------------------------------------ MMSA's pickles


_MMSA_KEYS = re.compile(
    r"id|raw_text|text|text_bert|audio|vision|\w+_lengths|annotations|labels|(regression|classification)_labels\w*"
)


def is_mmsa(parts: Mapping[str, dict] | None) -> bool:
    """Return whether these parts, by split, are MMSA's: an id list and features in each."""
    keys = [_plain(part).keys() for part in parts.values()] if parts else []
    return bool(keys) and all("id" in names and names & set(MMSA_MODALITIES.values()) for names in keys)


def read_mmsa(parts: Mapping[str, dict], about: About, classes: tuple[str, ...]) -> Source:
    """Read MMSA's pickle: videos are dialogues, clips their utterances, frames averaged; without a name of its corpus.

    The label is the annotation; without annotations the class number, else the sign of the regression label.
    """
    parts, whole = {split: _plain(part) for split, part in parts.items()}, {}
    for split, part in parts.items():
        if "labels" in part and not {"annotations", "classification_labels", "regression_labels"} & part.keys():
            whole[split] = _numbers(part["labels"], f"{about}, {split}")
    if all(of.size == len(of) and (of >= 0).all() and (of == np.round(of)).all() for of in whole.values()):
        parts |= {name: parts[name] | {"classification_labels": of} for name, of in whole.items()}  # no scores
    columns = {split: _mmsa_part(part, f"{about}, {split}") for split, part in parts.items()}
    known = {fold(name) for name in classes}
    missing = Counter()
    for part in columns.values():
        for row, word in enumerate(part["labels"]):
            if is_no_label(word) and word not in known and not (word == "-1" and part["in words"]):
                missing[word] += 1
                part["labels"][row] = ""
    words = [label for part in columns.values() for label in part["labels"]]
    if not classes and len({word.isdecimal() for word in words if word}) > 1:
        raise InputError(f"{about}: labels are words in some rows, numbers in others. Name all with --classes.")
    classes = classes or tuple(sorted(set(words) - {""}, key=lambda w: (*_mmsa_place(w), w)))
    if wrong := sorted(set(words) - {""} - {name.lower() for name in classes} - set(map(str, range(len(classes))))):
        raise InputError(
            f"{about}: the labels {listed(wrong, 12)} are none of {', '.join(classes)}. Name all with --classes."
        )
    index = {str(number): number for number in range(len(classes))}
    index |= {name.lower(): number for number, name in enumerate(classes)} | {"": UNLABELLED}
    ids = {index[word] for word in words if word}
    if ids and (lacking := [name for number, name in enumerate(classes) if number not in ids]):
        raise InputError(f"{about}: no row has the class {listed(lacking)}, which --classes names. Numbers are from 0.")
    where: dict[str, list[str]] = {}
    for split, part in columns.items():
        for video in dict.fromkeys(part["video"]):
            where.setdefault(video, []).append(split)
    shared = {video for video, of in where.items() if len(of) > 1}
    groups: dict[str, tuple[str, list[int]]] = {}
    for split, part in columns.items():
        for row, video in enumerate(part["video"]):
            name = f"{split}_{video}" if video in shared else video
            groups.setdefault(name, (split, []))[1].append(row)
    for split, rows in groups.values():
        clips = columns[split]["clip"]
        if len({_DIGITS.sub("", clips[row]) for row in rows}) == 1:  # else, as IEMOCAP has them, no order
            rows.sort(key=lambda row: [int(number) for number in _DIGITS.findall(clips[row])])
    groups = dict(sorted(groups.items(), key=lambda item: (list(MELD_NAMES).index(item[1][0]), item[0])))

    def collect(column: str, read=lambda value: value) -> dict[str, list]:
        return {name: [read(columns[split][column][row]) for row in rows] for name, (split, rows) in groups.items()}

    modalities = [name for name in MMSA_MODALITIES if all(name in part for part in columns.values())]
    widths = {(name, part[name].shape[1]) for name in modalities for part in columns.values()}
    if len(widths) > len(modalities):
        raise InputError(f"{about}: other widths in other splits: {listed(f'{n} {w}' for n, w in sorted(widths))}.")
    left_out = {name: sum(part[f"{name} left out"] for part in columns.values()) for name in modalities}
    first = next((i for part in columns.values() for i, word in zip(part["id"], part["labels"]) if not word), "")
    found = Labels([0] * len(words), classes, missing, [], [])
    unlabelled = [("labels", found.missing_label(first), found.missing_then)] if missing else []
    if unused := sorted({key for part in parts.values() for key in part if not _MMSA_KEYS.fullmatch(key)}):
        unlabelled.append(("columns", f"unknown column: {listed(map(repr, unused))}", "column not used"))
    reason, consequence = "a video in several splits: {}", "its clips in each split are a dialogue of their own"
    return Source(
        about=replace(about, layout="MMSA: train, valid, test; frames by clip, averaged"),
        corpus="",
        classes=classes,
        splits={name: split for name, (split, _) in groups.items()},
        labels=collect("labels", index.__getitem__),
        utterances=collect("id"),
        texts=collect("texts"),
        features={name: {k: np.stack(v) for k, v in collect(name).items()} for name in modalities},
        problems=(*((v, reason.format(", ".join(where[v])), consequence) for v in sorted(shared)), *unlabelled),
        notes=_note_frames(left_out),
    )


def _mmsa_part(part: dict, where: str) -> dict[str, list | np.ndarray | int]:
    """Return the columns of one split, each of as many rows as there are ids."""
    ids = [text_of(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value) for value in
           rows_of(part["id"], f"{where}, id")]  # fmt: skip
    count, raw_texts = len(ids), rows_of(part.get("raw_text", [""] * len(ids)), where)
    matches = [re.fullmatch(r"(.+?)(?:\$_\$(.+)|\[(\d+)\])", name or "", flags=re.DOTALL) for name in ids]
    strange = next((name for name, match in zip(ids, matches) if match is None), None)
    if None in matches:
        raise InputError(f"{where}: the id {strange!r:.60}; expected video$_$clip, which shows the dialogue.")
    if len(set(ids)) < count:
        raise InputError(f"{where}: {count} ids, {len(set(ids))} of them different. Name each clip once.")
    columns: dict[str, list | np.ndarray | int] = {
        "id": ids,
        "texts": [str(clean_text(text) or "") for text in raw_texts],
        "labels": _mmsa_labels(part, count, where),
        "in words": int("annotations" in part),
    }
    columns |= {"video": [match[1] for match in matches], "clip": [match[2] or match[3] for match in matches]}
    for name, key in MMSA_MODALITIES.items():
        if key in part:
            columns[name], columns[f"{name} left out"] = _mmsa_means(part, key, count, f"{where}, {key}")
    sizes = {name: len(column) for name, column in columns.items() if not isinstance(column, int)}
    if wrong := {name: size for name, size in sizes.items() if size != count}:
        raise InputError(
            f"{where}: {count} ids, but {listed(f'{n} {c}' for n, c in wrong.items())}: cut off or damaged."
        )
    return columns


def _mmsa_labels(part: dict, count: int, where: str) -> list[str]:
    """Return the labels as words: annotations, else class numbers, else the score's sign."""
    numbers = part.get("classification_labels")
    if "annotations" in part:
        cells = [plain(cell) for cell in rows_of(part["annotations"], where)]
        strange = next((cell for cell in cells if not (cell is None or isinstance(cell, str))), None)
        if strange is not None:
            raise InputError(
                f"{where}: an annotation is {strange!r:.40}; expected words, such as Negative. Without `annotations`, "
                "classification_labels are read, or the signs of regression_labels."
            )
        words = [fold(str(clean_text(cell) or "")) for cell in cells]
        if numbers is not None and len(set(zip(words, np.ravel(numbers).tolist()))) > len(set(words)):
            raise InputError(
                f"{where}: one annotation has several classification_labels: the file contradicts itself. Get it again."
            )
        return words
    if numbers is not None:
        values = np.ravel(_numbers(numbers, where))
        if not all(value == UNLABELLED or value in range(1000) for value in values.tolist()):
            raise InputError(f"{where}: classification_labels that are no whole numbers from 0.")
        return [str(int(value)) for value in values.tolist()]
    scores = part.get("regression_labels", part.get("labels"))
    if scores is None:
        return [""] * count
    values = _numbers(scores, where)
    if values.size > len(values):
        raise InputError(
            f"{where}: the labels are {kind(values)}: several scores of each clip; expected one, of sentiment. Write "
            "the class of each clip into `annotations`, such as that of the highest score."
        )
    signs = np.sign(values.ravel()).tolist()
    return [{-1.0: "negative", 0.0: "neutral", 1.0: "positive"}.get(sign, "") for sign in signs]


def _numbers(values: object, where: str) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        found = kind(values)
        raise InputError(f"{where}: labels or lengths are {found}; expected numbers (words: `annotations`).") from None


def _mmsa_place(label: str) -> tuple[int, int]:
    """Return a sorting key: numbers in order, then from negative to positive, then other words."""
    if label.isdecimal():
        return (0, int(label))
    return (1, MMSA_ORDER.index(label) if label in MMSA_ORDER else len(MMSA_ORDER))


def _mmsa_means(part: dict, key: str, count: int, where: str) -> tuple[np.ndarray, int]:
    """Return the means [N, D] over the frames of [N, T, D] within their lengths, and how many are not finite."""
    values = part[key]
    if not isinstance(values, np.ndarray) or values.ndim not in (2, 3) or values.dtype.kind not in "biuf":
        raise InputError(f"{where}: {kind(values)}; expected numbers [N, T, D].")
    if values.ndim == 2:
        with np.errstate(over="ignore"):
            return values.astype(np.float32), 0
    if len(values) != count or 0 in values.shape[1:]:
        raise InputError(f"{where}: {kind(values)} for {count} ids; expected [N, T, D] with a row for each.")
    shown_NT = np.ones(values.shape[:2], dtype=bool)
    lengths = part.get(f"{key}_lengths")
    tokens = part.get("text_bert")
    if lengths is not None:
        lengths = _numbers(lengths, where).ravel()
        if len(lengths) != count or not (lengths >= 0).all() or (lengths > values.shape[1]).any():
            raise InputError(f"{where}: {len(lengths)} lengths up to {lengths.max(initial=0):g} for {kind(values)}.")
        shown_NT = np.arange(values.shape[1]) < lengths[:, None]
    elif key == "text" and isinstance(tokens, np.ndarray) and tokens.shape == (count, 3, values.shape[1]):
        is_token_NT = tokens[:, 1] > 0  # BERT's attention mask; its vectors of padding are not zeros
        shown_NT = is_token_NT | ~is_token_NT.any(axis=1, keepdims=True)
    means = [mean_of_frames(frames[shown]) for frames, shown in zip(values, shown_NT)]
    return np.stack([mean for mean, _ in means]), sum(left_out for _, left_out in means)
