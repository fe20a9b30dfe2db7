"""MMIN's features: an HDF5 file per modality, in it a dataset per utterance, named by its id, of frames or words.

    Ses01F_impro01_F000 [T, D]            A/comparE.h5, V/denseface.h5, L/bert_large.h5, aligned_*.h5
    Ses01F_impro01_F000/feat [T, D]       raw_*.h5, with their times in /start and /end beside

IF-MMIN and CIF-MMIN use the same. There is one vector per utterance here, so frames are averaged; those of zeros alone
(MMIN's "no face", and padding) are no frames. The labels beside them (target/*.npy) are without dialogues and order.
"""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError
from dferc.importing.corpora import IEMOCAP, is_iemocap_dialogue
from dferc.importing.readers.tables import refuse_damage, verify_inflation
from dferc.importing.source import About, Source

MMIN = {130: "audio", 342: "visual", 1024: "text"}  # by width: comparE, denseface, bert_large


def has_frames(path: Path) -> bool:
    """Return whether the first item of an HDF5 file is frames; a damaged file is left to the reader of tables."""
    try:
        with h5py.File(path, "r") as file:
            return _frames(file, next(iter(file), "")) is not None
    except (KeyError, OSError, RuntimeError):
        return False


def _frames(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return an utterance's frames, or None. A table's matrix has a row per utterance, and no utterance's name."""
    item = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if isinstance(item, h5py.Group):
        item = item.get("feat") if isinstance(item.get("feat", getlink=True), h5py.HardLink) else None
    elif not is_iemocap_dialogue(name.rpartition("_")[0]):
        return None
    is_frames = isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "biuf"
    return item if is_frames and not (item.external or item.is_virtual) else None


def read_frames(path: Path, about: About) -> Source:
    """Return the mean over each utterance's frames."""
    with refuse_damage(path, "readable HDF5"), h5py.File(path, "r") as file:
        frames = {name: _frames(file, name) for name in file}
        first = next(iter(frames))
        strange = next((name for name, dataset in frames.items() if dataset is None), None)
        if strange is not None:
            raise InputError(f"{path}, {strange}: no frames [T, D], as {first} has them.")
        verify_inflation(path, sum(dataset.nbytes for dataset in frames.values()))
        width = frames[first].shape[1]
        other = next((name for name, dataset in frames.items() if dataset.shape[1] != width), None)
        if other is not None:
            raise InputError(
                f"{path}, {other}: frames of {frames[other].shape[1]} values, expected {width} as in {first}. One "
                "modality has one width: extract the utterance again, or leave it out."
            )
        vectors = {name: _mean(dataset[()]) for name, dataset in frames.items()}
    known = all(is_iemocap_dialogue(name.rpartition("_")[0]) for name in vectors)
    return Source(
        about=replace(about, layout="HDF5 of MMIN, IF-MMIN, CIF-MMIN: frames by utterance, averaged"),
        corpus=IEMOCAP.name if known else "",
        vectors={MMIN.get(width, "?"): vectors},
    )


def _mean(frames: np.ndarray) -> np.ndarray:
    """Return [T, D] -> [D] float32, over the frames that are not zeros alone; zeros where there is none."""
    shown = frames[frames.any(axis=1)]
    if not len(shown):
        return np.zeros(frames.shape[1], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a mean that is not finite is marked as absent later
        return shown.mean(axis=0, dtype=np.float64).astype(np.float32)
